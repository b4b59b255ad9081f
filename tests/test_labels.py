from __future__ import annotations

import pytest

from covidct.errors import UsageError
from covidct.labels import BINARY_CLASSES, CLASSES, class_map


def test_canonical_order() -> None:
    assert CLASSES == ("normal", "cap", "covid")
    assert BINARY_CLASSES == ("non_covid", "covid")


@pytest.mark.parametrize(
    ("classes", "word", "label"),
    [
        ("three", "Normal", 0),
        ("three", "CP", 1),
        ("three", "NCP", 2),
        ("three", " COVID-19 ", 2),
        ("covid_vs_rest", "cap", 0),
        ("covid_vs_rest", "negative", 0),
        ("covid_vs_rest", "positive", 1),
    ],
)
def test_words_of_data_sets(classes: str, word: str, label: int) -> None:
    assert class_map(classes).label(word) == label


def test_own_mapping_keeps_order_of_first_appearance() -> None:
    classes = class_map({"Mild": "low", "Severe": "high", "Moderate": "low"})
    assert classes.names == ("low", "high")
    assert [classes.label(word) for word in ("mild", "MODERATE", "severe")] == [0, 0, 1]


def test_unknown_word_lists_the_known() -> None:
    with pytest.raises(UsageError, match="'flu' is unknown: use one of cap, covid, normal"):
        class_map("three").label("flu")


def test_three_classes_do_not_take_a_merged_word() -> None:
    with pytest.raises(UsageError, match="negative"):
        class_map("three").label("negative")


@pytest.mark.parametrize("classes", ["four", {"a": "x", "b": "x"}])
def test_bad_class_sets(classes: str | dict[str, str]) -> None:
    with pytest.raises(UsageError):
        class_map(classes)


def test_numbers_from_yaml_are_words() -> None:
    mapping: dict[str, str] = {0: "clean", 1: "covid"}  # type: ignore[dict-item]
    assert class_map(mapping).label("1") == 1
