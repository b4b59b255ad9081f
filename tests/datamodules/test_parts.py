from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from covidct.datamodules.parts import Parts, divide
from covidct.datasets import Record
from covidct.datasets.base import Split
from covidct.errors import UsageError


def cohort(count: int = 30, splits: tuple[str | None, ...] = (None,)) -> list[Record]:
    return [
        Record(f"r{i}", f"p{i}", i % 3, i, split=cast("Split | None", splits[i * len(splits) // count]))
        for i in range(count)
    ]


def sizes(parts: dict[Split, list[Record]]) -> dict[str, int]:
    return {str(name): len(records) for name, records in parts.items()}


def test_own_split_is_taken_as_it_is() -> None:
    parts = divide(cohort(splits=("train", "val", "test")), Parts())
    assert sizes(parts) == {"train": 10, "val": 10, "test": 10}
    assert all(record.split == name for name, records in parts.items() for record in records)


def test_own_split_without_validation_gets_one_from_training() -> None:
    parts = divide(cohort(splits=("train", "test")), Parts(split="manifest", val_fraction=0.2))
    assert sizes(parts) == {"train": 12, "val": 3, "test": 15}
    assert sizes(divide(cohort(splits=("train", "test")), Parts(val_fraction=0.0)))["val"] == 0


def test_fractions_by_subject() -> None:
    parts = divide(cohort(splits=("train", "test")), Parts(split="subject", val_fraction=0.2, test_fraction=0.2))
    assert sizes(parts) == {"train": 18, "val": 6, "test": 6}
    assert set(Counter(record.label for record in parts["val"]).values()) == {2}


def test_folds_cover_everything_but_the_test_part() -> None:
    seen: Counter[str] = Counter()
    tests = set()
    for fold in range(4):
        parts = divide(cohort(), Parts(num_folds=4, fold=fold, test_fraction=0.2))
        seen.update(record.id for record in parts["val"])
        tests.add(tuple(record.id for record in parts["test"]))
        assert sizes(parts)["test"] == 6
    assert len(tests) == 1
    assert set(seen.values()) == {1}
    assert len(seen) == 24


def test_folds_without_a_test_part() -> None:
    assert sizes(divide(cohort(), Parts(num_folds=5, fold=4, test_fraction=0.0))) == {"train": 24, "val": 6, "test": 0}


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(UsageError, match="no split of its own"):
        divide(cohort(), Parts(split="manifest"))
    with pytest.raises(UsageError, match="'official' is unknown"):
        Parts(split="official")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="fold=5"):
        Parts(num_folds=5, fold=5)


def test_a_cohort_for_the_test_alone() -> None:
    assert sizes(divide(cohort(splits=("test",)), Parts())) == {"train": 0, "val": 0, "test": 30}


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_fractions_that_are_none_are_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        Parts(val_fraction=fraction)
    with pytest.raises(UsageError, match="between 0 and 1"):
        Parts(test_fraction=fraction)
