from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch

from covidct.datasets import PhantomLungs
from covidct.errors import UsageError
from covidct.sample import check_sample

if TYPE_CHECKING:
    from pathlib import Path

DETAIL = 0.15


def digest(path: Path) -> str:
    raise AssertionError(path)


def test_samples_keep_the_contract_and_repeat() -> None:
    dataset = PhantomLungs(3, detail=DETAIL)
    sample = dataset[2]
    check_sample(sample, "ct_volume", intensity="hu")
    assert set(sample["lung_mask"].flatten().tolist()) == {0, 1, 2}
    assert int(sample["label"]) == -1
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[2]["image"], sample["image"])  # noqa: S301
    larger = PhantomLungs(9, detail=DETAIL)
    assert torch.equal(larger[2]["image"], sample["image"])


def test_records_and_keys_need_no_simulation() -> None:
    dataset = PhantomLungs(600)
    assert len({record.subject for record in dataset.records}) == 600
    assert {record.label for record in dataset.records} == {-1}
    keys = [dataset.content_key(source, digest=digest) for source in range(600)]
    assert len(set(keys)) == 600
    assert keys[0] != PhantomLungs(600, seed=1).content_key(0, digest=digest)
    assert keys[0] != PhantomLungs(600, detail=0.5).content_key(0, digest=digest)
    assert keys[0] == PhantomLungs(1).content_key(0, digest=digest)


@pytest.mark.parametrize("wrong", [{"num_scans": 0}, {"detail": 0.0}, {"detail": 5.0}])
def test_impossible_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        PhantomLungs(**wrong)
