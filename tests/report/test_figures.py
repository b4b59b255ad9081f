"""Places of points in the charts, against the linear maps written out by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from covidct.report.charts import Frame, jitter
from covidct.report.figures import calibration_chart, roc_chart, score_chart, strip_chart
from covidct.report.words import class_title, facts, figure, geometry_sentence, percent, seconds
from tests.report.samples import evaluated, scan


def test_a_frame_maps_corners_to_corners() -> None:
    frame = Frame(width=100, height=50, x=(0, 10), y=(-1, 1), margin=(10, 5, 20, 15))
    assert (frame.at_x(0), frame.at_x(10), frame.at_x(5)) == (10, 80, 45)
    assert (frame.at_y(-1), frame.at_y(1), frame.at_y(0)) == (35, 5, 20)
    assert frame.line((0, 10), (-1, 1)) == "M10 35L80 5"
    assert frame.line((0, 5, 10), (-1, math.nan, 1)) == "M10 35M80 5"
    assert frame.band((0, 10), (-1, -1), (1, 1)) == "M10 5L80 5L80 35L10 35Z"
    assert frame.band((), (), ()) == ""
    assert frame.band((0, 10), (), ()) == ""
    lost = math.nan  # a band of two pieces, each closed on its own base line
    assert frame.band((0, 2, 4, 6, 8, 10), [-1] * 6, (lost, 1, 1, lost, 1, 1)) == (
        "M24 5L38 5L38 35L24 35Z" + "M66 5L80 5L80 35L66 35Z"
    )


def test_jitter_is_even() -> None:
    values = sorted(jitter(number) for number in range(100))
    assert values[0] >= -0.5
    assert values[-1] < 0.5
    assert max(b - a for a, b in pairwise(values)) < 0.03


def test_roc_chart_shows_every_class_with_its_area() -> None:
    report, _ = evaluated()
    chart = roc_chart(report)
    assert chart is not None
    assert [(trace.name, trace.note) for trace in chart.traces] == [
        (class_title(name), f"{report.scores['auroc'][name].value:.3f}") for name in report.class_names
    ]
    assert all(trace.band for trace in chart.traces)


def test_calibration_dots_are_the_filled_bins() -> None:
    report, _ = evaluated()
    chart = calibration_chart(report)
    assert chart is not None
    filled = [entry for entry in report.calibration if entry.cases]
    assert [(dot.x, dot.y) for dot in chart.dots] == [
        (chart.frame.at_x(entry.confidence), chart.frame.at_y(entry.accuracy)) for entry in filled
    ]


def test_strip_dots_lie_at_their_probability_and_in_their_row() -> None:
    scans = [scan(number, [0.5 - number / 10, 0.3, 0.2 + number / 10]) for number in range(4)]
    chart = strip_chart(scans, "covid", [("a", "red", scans[:2]), ("b", "blue", scans[2:])])
    assert [dot.x for dot in chart.dots] == [chart.frame.at_x(0.2 + number / 10) for number in range(4)]
    middle = chart.frame.at_y(1)
    assert all((dot.y < middle) == (dot.colour == "red") for dot in chart.dots)


@pytest.mark.parametrize(("slices", "step"), [(8, 2), (40, 10), (128, 25), (300, 50), (1000, 200)])
def test_score_chart_has_round_ticks(slices: int, step: int) -> None:
    chart = score_chart(scan(1, [0.1, 0.2, 0.7], slice_scores=tuple(0.5 for _ in range(slices))), shown=(1, slices + 5))
    assert chart is not None
    assert [tick.text for tick in chart.x_ticks] == [str(n) for n in range(0, slices, step)]
    assert [dot.link for dot in chart.dots] == ["#slice-1"]


def test_words() -> None:
    assert (figure(0.12345), figure(None), figure(math.nan)) == ("0.123", "\N{EN DASH}", "\N{EN DASH}")
    assert (percent(0.931), percent(math.nan)) == ("93.1 %", "\N{EN DASH}")
    assert [seconds(value) for value in (0.0314, 2.5, 300, math.nan)] == ["31 ms", "2.5 s", "5.0 min", "\N{EN DASH}"]
    assert facts({"a_b": {"c": 1.5, "empty": ""}, "d": [1, 2], "e": None, "f": True}) == [
        ("a b / c", "1.5"),
        ("d", "1, 2"),
        ("f", "yes"),
    ]
    assert geometry_sentence({}) == ""
    assert geometry_sentence({"shape": (3, 4, 5)}).endswith("the spacing is unknown.")
