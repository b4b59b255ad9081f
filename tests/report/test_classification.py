from __future__ import annotations

import pytest
from sklearn.metrics import classification_report

from covidct.errors import UsageError
from covidct.report import classification_table

LOW: tuple[tuple[int, ...], ...] = ((12, 0, 0), (1, 12, 0), (0, 0, 20))
HIGH: tuple[tuple[int, ...], ...] = ((16, 0, 0), (0, 15, 1), (1, 1, 9))
"""Derived from the report's tables: the only counts that round to them (facts, section 1.4)."""

TABLES = {
    LOW: """
Normal 0.92 1.00 0.96 12
CAP 1.00 0.92 0.96 13
COVID-19 1.00 1.00 1.00 20
accuracy 0.98 45
macro avg 0.97 0.97 0.97 45
weighted avg 0.98 0.98 0.98 45
""",
    HIGH: """
Normal 0.94 1.00 0.97 16
CAP 0.94 0.94 0.94 16
COVID-19 0.90 0.82 0.86 11
accuracy 0.93 43
macro avg 0.93 0.92 0.92 43
weighted avg 0.93 0.93 0.93 43
""",
}
"""The practicum's report, Tables 1 and 2."""


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines() if line.strip()]


@pytest.mark.parametrize("confusion", [LOW, HIGH])
def test_prints_the_published_tables(confusion: tuple[tuple[int, ...], ...]) -> None:
    printed = words(classification_table(confusion, ("Normal", "CAP", "COVID-19")))
    assert printed[0] == ["precision", "recall", "f1-score", "support"]
    assert printed[1:] == words(TABLES[confusion])


@pytest.mark.parametrize("confusion", [LOW, HIGH])
def test_looks_as_scikit_learn_prints_it(confusion: tuple[tuple[int, ...], ...]) -> None:
    pairs = [(t, c) for t, row in enumerate(confusion) for c, count in enumerate(row) for _ in range(count)]
    names = ["Normal", "CAP", "a class with a long name"]
    theirs = classification_report(*zip(*pairs, strict=True), target_names=names, digits=3)
    assert classification_table(confusion, names, digits=3) == theirs


def test_a_class_that_nobody_has_scores_0_and_counts_in_no_mean() -> None:
    printed = words(classification_table(((3, 0, 0), (1, 1, 0), (0, 0, 0)), ("a", "b", "c")))
    assert printed[3] == ["c", "0.00", "0.00", "0.00", "0"]
    # a: 3/4, 3/3, 6/7; b: 1/1, 1/2, 2/3
    assert printed[5] == ["macro", "avg", "0.88", "0.75", "0.76", "5"]


def test_support_is_a_whole_number_when_nothing_is_right() -> None:
    printed = words(classification_table(((0, 2), (1, 0)), ("a", "b")))
    assert [line[-1] for line in printed[1:]] == ["2", "1", "3", "3", "3"]
    assert printed[3] == ["accuracy", "0.00", "3"]


@pytest.mark.parametrize("confusion", [((1, 2, 3), (1, 2, 3)), ((0, 0), (0, 0)), ((1.5, 0), (0, 1)), ((-1, 0), (0, 1))])
def test_what_is_no_matrix_of_counts_is_refused(confusion: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(UsageError, match="counts"):
        classification_table(confusion, ("a", "b"))
