"""Histograms: every value is counted once, in a bin with round edges."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from covidct.report.histograms import histogram_chart, whole_ticks

LOOKS = {"a": ("A", "red"), "b": ("B", "blue")}


@pytest.mark.parametrize("scale", [0.001, 1.0, 730.0])
def test_every_value_is_counted_once(scale: float) -> None:
    rng = np.random.default_rng(0)
    values = {"a": (scale * rng.gamma(2, 1, 60)).tolist(), "b": [*(scale * rng.gamma(3, 1, 40)).tolist(), math.nan]}
    chart = histogram_chart("T", "x", values, LOOKS, what="scans")
    assert chart is not None
    found = {"A": 0, "B": 0}
    for column in chart.columns:
        low, high, name, count = re.fullmatch(r"(\S+) to (\S+), (\w): (\d+) scans", column.text).groups()  # type: ignore[union-attr]
        inside = [value for value in values[name.lower()] if float(low) <= value < float(high)]
        assert len(inside) == int(count)
        found[name] += int(count)
    assert found == {"A": 60, "B": 40}
    assert len({column.x for column in chart.columns}) <= 21
    assert [trace.name for trace in chart.traces] == ["A", "B"]


def test_equal_values_have_a_bin_and_too_few_no_chart() -> None:
    chart = histogram_chart("T", "x", {"a": [5.0, 5.0], "b": []}, LOOKS, what="scans")
    assert chart is not None
    assert [column.text for column in chart.columns] == ["5 to 5.5, A: 2 scans"]
    assert [trace.name for trace in chart.traces] == ["A"]
    assert histogram_chart("T", "x", {"a": [1.0], "b": [math.inf]}, LOOKS, what="scans") is None


def test_ticks_are_whole_numbers() -> None:
    assert whole_ticks(1) == [1]
    assert whole_ticks(7) == [3, 7]
