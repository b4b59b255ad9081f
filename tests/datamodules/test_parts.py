from __future__ import annotations

from collections import Counter
from dataclasses import replace
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


def sites(*names: tuple[int, str], each: int = 6) -> list[Record]:
    """``each`` subjects of every (class, site)."""
    pairs = [pair for pair in names for _ in range(each)]
    return [Record(f"r{i}", f"p{i}", label, i, site=site) for i, (label, site) in enumerate(pairs)]


TWO_SITES = sites((0, "north"), (1, "north"), (0, "south"), (1, "south"), (1, "east"))


@pytest.mark.parametrize("site", ["north", "south", "east"])
def test_one_site_is_held_out(site: str) -> None:
    parts = divide(TWO_SITES, Parts(hold_out_site=site, val_fraction=0.25, test_fraction=0.9))
    assert parts["test"] == [record for record in TWO_SITES if record.site == site]
    rest = [record for record in TWO_SITES if record.site != site]
    assert sorted(parts["train"] + parts["val"], key=lambda record: record.source) == rest
    assert len(parts["val"]) == round(0.25 * len(rest))
    assert sizes(divide(TWO_SITES, Parts(hold_out_site=site, val_fraction=0.0)))["val"] == 0


def test_folds_of_the_other_sites() -> None:
    seen: Counter[str] = Counter()
    for fold in range(3):
        parts = divide(TWO_SITES, Parts(hold_out_site="north", num_folds=3, fold=fold))
        assert {record.site for record in parts["test"]} == {"north"}
        seen.update(record.id for record in parts["val"])
    assert len(seen) == 18
    assert set(seen.values()) == {1}


def test_the_own_split_gives_way_to_the_site() -> None:
    records = [replace(record, split="train") for record in TWO_SITES]
    assert sizes(divide(records, Parts(hold_out_site="east")))["test"] == 6
    with pytest.raises(UsageError, match="both name the test part"):
        Parts(split="manifest", hold_out_site="east")


def test_a_class_of_one_site_is_refused_with_the_reason() -> None:
    paper = sites((0, "tianchi_lung"), (1, "coronacases"), (1, "radiopaedia"))
    for site in ("tianchi_lung", "coronacases", "radiopaedia"):
        with pytest.raises(
            UsageError, match=r"class non_covid occurs at the site tianchi_lung only.*learnt the source"
        ):
            divide(paper, Parts(hold_out_site=site), class_names=("non_covid", "covid"))
    with pytest.raises(UsageError, match="class 0 occurs"):
        divide(paper, Parts(hold_out_site="coronacases"))


def test_sites_that_cannot_be_held_out() -> None:
    with pytest.raises(UsageError, match=r"hold_out_site='west'.*east, north, south"):
        divide(TWO_SITES, Parts(hold_out_site="west"))
    with pytest.raises(UsageError, match="at least two"):
        divide(sites((0, "north"), (1, "north")), Parts(hold_out_site="north"))
    with pytest.raises(UsageError, match="6 of 12 samples have no site"):
        divide(sites((0, "north"), (0, "")), Parts(hold_out_site="north"))


def test_scans_without_any_class_have_sites_too() -> None:
    parts = divide(sites((-1, "north"), (-1, "south")), Parts(hold_out_site="south", val_fraction=0.5))
    assert sizes(parts) == {"train": 3, "val": 3, "test": 6}
