"""The charts of the pages: which data goes where; drawn by ``templates/charts.html``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from covidct.report.charts import Frame, Tick, jitter
from covidct.report.words import class_colour, class_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.metrics import TriageReport
    from covidct.result import ScanResult

__all__ = (
    "Chart",
    "Column",
    "Dot",
    "Rule",
    "Trace",
    "calibration_chart",
    "roc_chart",
    "round_step",
    "score_chart",
    "strip_chart",
)

_FIFTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)


@dataclass(frozen=True, slots=True)
class Trace:
    """A line with its band: SVG paths, a colour and a name for the legend."""

    name: str
    colour: str
    line: str
    band: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """A point: place, radius, colour, text on hover, and a link inside the page (``#...``) or nothing."""

    x: float
    y: float
    radius: float
    colour: str
    text: str
    link: str = ""
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A bar of a histogram: its upper left corner, size, colour, and text on hover."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """An upright line with a word above the frame, on its right side or, ``left``, on its left."""

    at: float
    text: str
    left: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything a template needs to draw one chart."""

    frame: Frame
    title: str
    x_title: str
    y_title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    traces: Sequence[Trace] = ()
    dots: Sequence[Dot] = ()
    diagonal: str = ""
    columns: Sequence[Column] = ()
    rules: Sequence[Rule] = ()
    wide: bool = False  # drawn over the whole width of the page, the texts of y inside the frame


def roc_chart(report: TriageReport) -> Chart | None:
    """ROC curves of all classes that have one; None without any."""
    if not report.roc:
        return None
    frame = Frame()
    grid = [index / 100 for index in range(101)]
    traces = []
    for index, name in enumerate(report.class_names):
        if name in report.roc:
            curve = report.roc[name]
            area = report.scores["auroc"][name].value
            band = frame.band(grid, curve.low, curve.high)
            line = frame.line(curve.false_positive_rate, curve.sensitivity)
            traces.append(Trace(class_title(name), class_colour(name, index), line, band, f"{area:.3f}"))
    return Chart(
        frame,
        f"Receiver operating characteristic, {report.confidence:.0%} band",
        "1 \N{MINUS SIGN} specificity",
        "Sensitivity",
        frame.x_ticks(_FIFTHS),
        frame.y_ticks(_FIFTHS),
        traces=traces,
        diagonal=frame.line((0, 1), (0, 1)),
    )


def calibration_chart(report: TriageReport) -> Chart | None:
    """Accuracy over confidence, area of a dot in proportion to its cases; None without probabilities."""
    filled = [entry for entry in report.calibration if entry.cases]
    if not filled:
        return None
    frame = Frame()
    most = max(entry.cases for entry in filled)
    dots = [
        Dot(
            frame.at_x(entry.confidence),
            frame.at_y(entry.accuracy),
            round(3 + 9 * math.sqrt(entry.cases / most), 1),
            "var(--accent)",
            f"{entry.cases} cases: mean confidence {entry.confidence:.3f}, accuracy {entry.accuracy:.3f}",
        )
        for entry in filled
    ]
    line = frame.line([entry.confidence for entry in filled], [entry.accuracy for entry in filled])
    return Chart(
        frame,
        "Accuracy over confidence",
        "Confidence of the predicted class",
        "Share predicted right",
        frame.x_ticks(_FIFTHS),
        frame.y_ticks(_FIFTHS),
        traces=[Trace("", "var(--accent)", line)],
        dots=dots,
        diagonal=frame.line((0, 1), (0, 1)),
    )


def strip_chart(scans: Sequence[ScanResult], name: str, rows: Sequence[tuple[str, str, Sequence[ScanResult]]]) -> Chart:
    """Probability of one class, a dot per scan, a row per group.

    Args:
        scans: all scans, in the order that fixes each dot's vertical spread.
        name: the class whose probability is shown.
        rows: (title, colour, scans) from top to bottom.
    """
    count = len(rows)
    frame = Frame(width=640, height=60 + 78 * count, y=(0, count), margin=(8, 6, 10, 54))
    place = {scan.id: jitter(number) for number, scan in enumerate(scans)}
    dots = [
        Dot(
            frame.at_x(scan.probabilities[name]),
            frame.at_y(count - row - 0.66 + 0.46 * place[scan.id]),
            4,
            colour,
            f"{scan.id}: {scan.probabilities[name]:.3f}",
        )
        for row, (_, colour, members) in enumerate(rows)
        for scan in members
    ]
    return Chart(
        frame,
        f"Probability of {class_title(name)} per scan",
        f"Probability of {class_title(name)}",
        "",
        frame.x_ticks(_FIFTHS),
        [Tick(frame.at_y(count - row), title) for row, (title, _, _) in enumerate(rows)],
        dots=dots,
        wide=True,
    )


def score_chart(scan: ScanResult, *, shown: Sequence[int]) -> Chart | None:
    """Slice scores from feet to head, with a dot that leads to each slice shown on the page; None without scores."""
    scores = scan.slice_scores
    finite = [score for score in scores if math.isfinite(score)]
    if len(scores) < 2 or not finite:
        return None
    low, high = min(*finite, 0.0), max(*finite, 1e-6)
    high = 1.0 if low >= 0 and high <= 1 else high
    frame = Frame(width=640, height=220, x=(0, len(scores) - 1), y=(low, high), margin=(10, 10, 14, 54))
    step = round_step((len(scores) - 1) / 6)
    dots = [
        Dot(frame.at_x(index), frame.at_y(scores[index]), 5, "var(--accent)", f"slice {index}", f"#slice-{index}")
        for index in shown
        if 0 <= index < len(scores) and math.isfinite(scores[index])
    ]
    xs = range(len(scores))
    return Chart(
        frame,
        "Slice scores from feet to head",
        "Slice, feet to head",
        "",
        frame.x_ticks(range(0, len(scores), step)),
        frame.y_ticks([low + (high - low) * part for part in (0.5, 1)], form=".3g"),
        traces=[Trace("", "var(--accent)", frame.line(xs, scores), frame.band(xs, [low] * len(scores), scores))],
        dots=dots,
        wide=True,
    )


def round_step(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 25, 50, 100 ... at or above ``value``."""
    scale = 10 ** math.floor(math.log10(max(value, 1)))
    steps = (scale * factor for factor in (1, 2, 2.5, 5, 10))
    return next(int(step) for step in steps if step >= value and step == int(step))
