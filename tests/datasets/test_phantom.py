from __future__ import annotations

import pickle
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from covidct.datasets import PhantomCTSlices, PhantomCTVolumes, PhantomCXR
from covidct.errors import UsageError
from covidct.sample import check_sample

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.datasets import BaseDataset

SHAPE = (32, 48, 48)


def digest(path: Path) -> str:
    raise AssertionError(path)


DATASETS = [
    PhantomCTVolumes(3, shape=SHAPE),
    PhantomCTSlices(3, shape=SHAPE, slices_per_scan=4),
    PhantomCXR(3, shape=(64, 64)),
]


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda d: type(d).__name__)
def test_samples_keep_the_contract_and_repeat(dataset: BaseDataset) -> None:
    for index in (0, len(dataset) - 1):
        sample = dataset[index]
        check_sample(sample, dataset.kind, intensity=dataset.intensity)
        assert int(sample["label"]) == dataset.records[index].label
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    last = len(dataset) - 1
    assert torch.equal(again[last]["image"], dataset[last]["image"])


def test_records_and_keys_need_no_simulation() -> None:
    dataset = PhantomCTVolumes(600, scans_per_subject=2, shape=(512, 512, 512))
    assert Counter(record.label for record in dataset.records) == {0: 400, 1: 400, 2: 400}
    assert len({record.subject for record in dataset.records}) == 600
    assert len({dataset.content_key(source, digest=digest) for source in range(1200)}) == 1200


def test_classes_merge_labels_and_slice_labels() -> None:
    dataset = PhantomCTVolumes(3, shape=SHAPE, classes="covid_vs_rest")
    assert [record.label for record in dataset.records] == [0, 0, 1]
    cap, covid = dataset.load(1).slice_label, dataset.load(2).slice_label
    assert cap is not None
    assert covid is not None
    assert set(np.unique(cap)) == {0}
    assert set(np.unique(covid)) == {0, 1}


def test_larger_cohort_begins_with_the_smaller_one() -> None:
    small, large = PhantomCTVolumes(3, shape=SHAPE), PhantomCTVolumes(6, shape=SHAPE)
    assert torch.equal(small[2]["image"], large[2]["image"])
    other = PhantomCTVolumes(3, shape=SHAPE, seed=1)
    assert not torch.equal(small[2]["image"], other[2]["image"])
    assert small.content_key(2, digest=digest) == large.content_key(2, digest=digest)
    assert small.content_key(2, digest=digest) != other.content_key(2, digest=digest)


def test_slices_lie_in_the_chest() -> None:
    dataset = DATASETS[1]
    assert [record.slice for record in dataset.records[:4]] == [6, 11, 16, 20]
    assert dataset.slices == {source: [6, 11, 16, 20] for source in range(3)}
    assert bool(dataset[1]["lung_mask"].any())


@pytest.mark.parametrize("wrong", [{"num_subjects": 0}, {"scans_per_subject": 0}, {"slices_per_scan": 90}])
def test_impossible_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        PhantomCTSlices(**{"num_subjects": 3, **wrong})
