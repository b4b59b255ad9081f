"""Kept runs: found again by everything that determines them, and by nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.errors import UsageError
from covidct.studies.runs import RunStore, TestPredictions, describe_cohort, describe_options

PREDICTIONS = TestPredictions(
    ("non_covid", "covid"), ("a", "b", "c"), (0, 1, 1), (0, 1, 0), ((0.9, 0.1), (0.25, 0.75), (0.5, 0.5))
)


def test_a_run_is_taken_over_only_under_the_same_configuration(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    assert store.take("mask-seed0", {"epochs": 2}) is None
    store.keep("mask-seed0", {"test": PREDICTIONS}, seconds=1.5)
    again = RunStore(tmp_path / "runs")
    assert again.take("mask-seed0", {"epochs": 2}) == {"test": PREDICTIONS}
    assert again.take("mask-seed1", {"epochs": 2}) is None
    assert again.take("mask-seed0", {"epochs": 3}) is None
    again.keep("mask-seed0", {"test": PREDICTIONS}, seconds=1.5)
    assert len(list((tmp_path / "runs").iterdir())) == 2  # the other run stays


def test_a_damaged_run_is_run_again(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.take("mask-seed0", {})
    store.keep("mask-seed0", {"test": PREDICTIONS}, seconds=0)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:50])
    assert store.take("mask-seed0", {}) is None


def test_subjects_leave_as_numbers(tmp_path: Path) -> None:
    batches = [
        {
            "id": ["a", "b"],
            "subject": torch.tensor([987654321, 123456789]),
            "label": torch.tensor([0, 1]),
            "prob": torch.tensor([[0.75, 0.25], [0.5, 0.5]]),
        },
        {
            "id": ["c"],
            "subject": torch.tensor([987654321]),
            "label": torch.tensor([1]),
            "prob": torch.tensor([[0.0, 1.0]]),
        },
    ]
    found = TestPredictions.join(batches, ("non_covid", "covid"))
    assert found.group == (0, 1, 0)
    assert found.id == ("a", "b", "c")
    assert found.prob == ((0.75, 0.25), (0.5, 0.5), (0.0, 1.0))
    assert TestPredictions.from_dict(json.loads(json.dumps(asdict(found)))) == found


def test_predictions_are_brought_to_one_order() -> None:
    other = replace(PREDICTIONS, id=("c", "a", "b"), label=(1, 0, 1))
    assert other.ordered(PREDICTIONS, what="x").tolist() == [[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]]
    for wrong in (replace(other, id=("c", "a", "d")), replace(other, label=(0, 0, 1)), PREDICTIONS):
        like = replace(PREDICTIONS, class_names=("a", "b")) if wrong is PREDICTIONS else PREDICTIONS
        with pytest.raises(UsageError, match="other cases"):
            wrong.ordered(like, what="mask")


def test_options_are_told_apart_by_what_they_do() -> None:
    described = describe_options(
        {"a": (1, None), "s": partial(CosineAnnealingLR, T_max=5), "t": StepLR, "f": np.random.default_rng}
    )
    assert json.loads(json.dumps(described)) == described
    assert described["a"] == [1, None]
    assert describe_options(partial(CosineAnnealingLR, T_max=6)) != described["s"]
    with pytest.raises(UsageError, match="named function"):
        describe_options({"x": lambda: 0})
    with pytest.raises(UsageError, match="plain data"):
        describe_options(object())


def test_cohorts_are_told_apart_by_scans_and_preparation_not_by_workers() -> None:
    def described(subjects: int = 6, seed: int = 0, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        data = PhantomCTVolumes(subjects, shape=(24, 32, 32), seed=seed)
        return describe_cohort(CTVolumeDataModule(data, **{"size": 32, **options}))

    same = described()
    assert described(num_workers=1, cache_dir="/elsewhere") == same
    for other in (described(size=40), described(seed=1), described(subjects=7), described(masking="lungs")):
        assert other != same
    assert json.loads(json.dumps(same)) == same
