from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from scipy import ndimage

from covidct.datasets import BaseDataset, PhantomLesions
from covidct.datasets.phantom_lesions import _evenly
from covidct.errors import UsageError
from covidct.phantom import simulate_ct
from covidct.sample import check_sample
from covidct.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (48, 96, 96)


def digest(path: Path) -> str:
    raise AssertionError(path)


@pytest.fixture(scope="module")
def dataset() -> PhantomLesions:
    return PhantomLesions(3, slices_per_scan=3, shape=SHAPE)


def test_samples_keep_the_contract_and_repeat(dataset: PhantomLesions) -> None:
    for index in range(0, 9, 4):
        sample = dataset[index]
        check_sample(sample, "ct_slice", intensity="hu")
        assert int(sample["label"]) == index // 3
        count = len(sample["instances"]["boxes"])
        assert (count == 0) == (index == 0)
        covered = sample["instances"]["masks"].sum(dim=0)
        assert torch.equal(covered, (sample["lesion_mask"][0] > 0).to(covered.dtype))
        assert int(sample["slice_label"]) == index // 3
        assert bool(sample["lung_mask"].any())
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert torch.equal(again[8]["image"], dataset[8]["image"])


def test_slices_are_true_slices_of_the_scan(dataset: PhantomLesions) -> None:
    raw = dataset.load(2)
    made = simulate_ct(dataset._draw(2), diagnosis="covid", shape=SHAPE)
    assert isinstance(raw.scan, Volume)
    assert raw.lesion_mask is not None
    step = round(raw.scan.spacing[0] / made.volume.spacing[0])
    np.testing.assert_allclose(raw.scan.affine[:, 2], made.volume.affine[:, 2] * step)
    first = round((raw.scan.affine[2, 3] - made.volume.affine[2, 3]) / made.volume.affine[2, 2])
    chosen = first + step * np.arange(3)
    assert step > 1
    np.testing.assert_array_equal(raw.scan.array, made.volume.array[chosen])
    least = round(100 * 96 * 96 / 512**2)
    for plane, truth in zip(raw.lesion_mask, made.lesion_mask[chosen], strict=True):
        for value in (1, 2):
            numbers, count = ndimage.label(truth == value, structure=np.ones((3, 3)))
            sizes = ndimage.sum_labels(truth == value, numbers, range(1, count + 1))
            kept = np.isin(numbers, 1 + np.flatnonzero(np.asarray(sizes) > least))
            np.testing.assert_array_equal(plane == value, kept)


@pytest.mark.parametrize("seed", range(3))
def test_slices_of_the_sick_show_lesions(seed: int) -> None:
    cohort = PhantomLesions(6, shape=(96, 128, 128), lesions_only=True, seed=seed)
    assert [cohort.diagnosis(source) for source in range(4)] == ["cap", "covid"] * 2
    for source in range(2):
        mask = cohort.load(source).lesion_mask
        assert mask is not None
        assert mask.any(axis=(1, 2)).all()


def test_mask_types() -> None:
    merged = PhantomLesions(3, shape=SHAPE, mask_type="merge")
    single = PhantomLesions(3, shape=SHAPE, mask_type="ggo")
    assert set(merged[9]["instances"]["labels"].tolist()) == {1}
    sample = single[9]
    assert set(sample["instances"]["labels"].tolist()) == {1}
    assert sample["instances"]["masks"].sum() == (sample["lesion_mask"] == 1).sum()
    keys = {c.content_key(2, digest=digest) for c in (merged, single, PhantomLesions(3, shape=SHAPE))}
    assert len(keys) == 3


def test_records_and_keys_need_no_simulation() -> None:
    large = PhantomLesions(600, shape=(512, 512, 512))
    assert large.min_area == 100
    assert len(large) == 2400
    assert PhantomLesions().min_area == 25
    assert len({large.content_key(source, digest=digest) for source in range(600)}) == 600
    sick = PhantomLesions(600, shape=(512, 512, 512), lesions_only=True)
    assert {record.label for record in sick.records} == {1, 2}
    assert max(record.source for record in sick.records) == 399
    assert sick.content_key(0, digest=digest) == large.content_key(1, digest=digest)
    assert sick.subject_hash(sick.records[0]) == large.subject_hash(large.records[4])
    assert sick.scan_hash(sick.records[0]) == large.scan_hash(large.records[4])


def test_even_choice_is_the_widest_with_enough_area() -> None:
    area = np.array([0, 1, 10, 10, 10, 10, 10, 1, 0])
    assert _evenly(area, 3) == (2, 2)
    assert _evenly(area, 1)[0] in range(2, 7)
    assert _evenly(area, 9) == (0, 1)
    assert _evenly(np.array([0, 0, 5, 9, 5, 0]), 2) == (2, 2)
    assert _evenly(np.zeros(4, dtype=np.int64), 4) == (0, 1)


def test_written_in_yaml() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataset, "dataset")
    init = {"num_subjects": 6, "shape": [48, 96, 96], "mask_type": "merge"}
    node = {"dataset": {"class_path": "covidct.datasets.PhantomLesions", "init_args": init}}
    made = parser.instantiate(parser.parse_object(node))["dataset"]
    assert made.mask_type == "merge"
    assert made.shape == (48, 96, 96)


@pytest.mark.parametrize(
    "wrong", [{"num_subjects": 0}, {"slices_per_scan": 97}, {"mask_type": "lung"}, {"min_area": -1}, {"classes": "x"}]
)
def test_impossible_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        PhantomLesions(**wrong)
