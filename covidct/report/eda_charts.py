"""The charts of an exploratory page: grey values, contrast with its line, months of files, probes of shortcuts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from covidct.curation.shortcuts import WARN_ABOVE
from covidct.labels import WORDS
from covidct.report.charts import Frame, Tick
from covidct.report.eda_images import label_title
from covidct.report.figures import Chart, Dot, Rule, Trace
from covidct.report.histograms import stacked_columns, whole_ticks
from covidct.report.words import class_colour

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from covidct.curation import CohortStatistics, ShortcutProbe

__all__ = ("contrast_chart", "grey_chart", "label_colour", "month_chart", "probe_chart", "time_bins")

_FLOOR = 1e-4  # share of pixels: the lowest that the logarithmic axis shows
_BINS = 24
_MONTHS = 36  # more months than that are put together to years


def label_colour(label: str, index: int) -> str:
    """The CSS variable of a label; grey without one."""
    return class_colour(WORDS.get(label.lower(), label), index) if label else "var(--c5)"


def grey_chart(found: CohortStatistics) -> Chart:
    """Share of the pixels of each grey value, by class, on a logarithmic axis: black and white dwarf all else."""
    left = -0.1  # so that the texts of y stand beside the curves
    frame = Frame(width=640, height=260, x=(left, 1), y=(math.log10(_FLOOR), 0), margin=(10, 8, 14, 54))
    traces = []
    for index, label in enumerate(found.labels):
        shares = found.images[label].grey.reshape(64, -1).sum(1)
        xs = (np.arange(64) + 0.5) / 64
        ys = np.log10(np.maximum(shares, _FLOOR))
        traces.append(Trace(label_title(label), label_colour(label, index), frame.line(xs.tolist(), ys.tolist())))
    ticks = [Tick(frame.at_y(power), f"{100 * 10.0**power:g} %") for power in (-3, -2, -1)]
    return Chart(
        frame,
        "Grey values by class",
        "Grey value, in 64 bins",
        "",
        frame.x_ticks((0, 0.25, 0.5, 0.75, 1)),
        ticks,
        traces=traces,
        wide=True,
    )


def contrast_chart(found: CohortStatistics) -> Chart | None:
    """Contrast of the scans, stacked by class, with the line between low and high; None without any."""
    values = {
        label: [r.contrast for r in found.records if r.entry.label == label and math.isfinite(r.contrast)]
        for label in found.labels
    }
    known = [value for some in values.values() for value in some]
    if not known:
        return None
    low, high = min(known), max(known)
    if high - low < 1e-6:
        low, high = low - 0.01, high + 0.01
    edges = np.linspace(low, high, _BINS + 1)
    counts = {label: np.histogram(some, edges)[0].tolist() for label, some in values.items()}
    titles = [f"{a:.3f} to {b:.3f}" for a, b in pairwise(edges)]
    top = max(sum(column) for column in zip(*counts.values(), strict=True))
    frame = Frame(width=640, height=290, x=(low, high), y=(0, 1.05 * top), margin=(10, 26, 14, 54))
    rules = []
    if found.contrast is not None:
        at = found.contrast.threshold
        rules.append(Rule(frame.at_x(at), f"Otsu: {at:.3f}", left=at > (low + high) / 2))
    ticks = frame.x_ticks(np.linspace(low, high, 5).tolist(), form=".2f")
    title = "RMS contrast inside the body" if found.measure == "rms" else "Spread of intensities inside the body"
    columns = stacked_columns(frame, counts, titles, _looks(counts), what="scans")
    return Chart(
        frame,
        f"{title}, scans by class",
        title,
        "",
        ticks,
        frame.y_ticks(whole_ticks(top)),
        traces=_legend(found.labels),
        columns=columns,
        rules=rules,
        wide=True,
    )


def month_chart(counts: Mapping[tuple[str, str], int], labels: Sequence[str], title: str, what: str) -> Chart | None:
    """Files or series by month (by year where they span more than three), stacked by class; None without any."""
    if not counts:
        return None
    bins = time_bins([month for month, _ in counts])
    digits = len(bins[0])
    stacks = {
        label: [sum(n for (m, other), n in counts.items() if other == label and m[:digits] == b) for b in bins]
        for label in labels
    }
    top = max(sum(column) for column in zip(*stacks.values(), strict=True))
    frame = Frame(width=380, height=220, x=(0, len(bins)), y=(0, 1.1 * top))
    step = math.ceil(len(bins) / 5)
    ticks = [Tick(frame.at_x(index + 0.5), bins[index]) for index in range(0, len(bins), step)]
    columns = stacked_columns(frame, stacks, bins, _looks(stacks), what=what)
    legend = _legend(labels)
    axis = frame.y_ticks(whole_ticks(top))
    return Chart(frame, title, "Month" if digits > 4 else "Year", "", ticks, axis, legend, columns=columns)


def time_bins(months: Sequence[str]) -> list[str]:
    """Every month from the first to the last; every year where that is over 36 months, or a month is not known."""
    first, last = min(months), max(months)
    if any(len(month) == len("2020") for month in months):
        return [f"{year:04d}" for year in range(int(first[:4]), int(last[:4]) + 1)]
    numbers = [12 * int(text[:4]) + int(text[5:]) - 1 for text in (first, last)]
    if numbers[1] - numbers[0] < _MONTHS:
        return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(numbers[0], numbers[1] + 1)]
    return [f"{year:04d}" for year in range(int(first[:4]), int(last[:4]) + 1)]


def probe_chart(probes: Sequence[ShortcutProbe], labels: Sequence[str] = ()) -> Chart:
    """AUROC of each probe with its interval, all classes and each class, beside chance and the limit of a warning.

    Args:
        probes: of one target.
        labels: all labels in the order that fixes their colours.
    """
    names = list(probes[0].by_class)
    order = labels if set(names) <= set(labels) else names
    shown = names if len(names) > 2 else []  # of two classes, each has the AUROC of the other
    height = 34 + 13 * (1 + len(shown))
    low = min(
        0.4, *(e.low if math.isfinite(e.low) else e.value for p in probes for e in (p.auroc, *p.by_class.values()))
    )
    low = math.floor(10 * low) / 10
    size = 80 + height * len(probes)
    frame = Frame(width=640, height=size, x=(low, 1), y=(0, len(probes)), margin=(10, 26, 14, 54))
    traces, dots, ticks = [], [], []
    for row, probe in enumerate(probes):
        top = len(probes) - row
        ticks.append(Tick(frame.at_y(top), probe.features))
        lines = [("all classes", probe.auroc, "var(--ink)")] if shown else [("", probe.auroc, "var(--accent)")]
        lines += [(label_title(k), probe.by_class[k], label_colour(k, order.index(k))) for k in shown]
        for number, (name, found, colour) in enumerate(lines):
            level = top - (26 + 13 * number) / height
            traces.append(Trace("", colour, frame.line((found.low, found.high), (level, level))))
            who = f"{probe.features}, {name}" if name else probe.features
            text = f"{who}: {found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
            dots.append(Dot(frame.at_x(found.value), frame.at_y(level), 4, colour, text))
    marks = [mark / 10 for mark in range(round(10 * low), 11)]
    rules = [Rule(frame.at_x(0.5), "chance", left=True), Rule(frame.at_x(WARN_ABOVE), "warning")]
    title = "AUROC of the label" if probes[0].target == "label" else "AUROC of the source"
    return Chart(frame, title, title, "", frame.x_ticks(marks), ticks, traces=traces, dots=dots, rules=rules, wide=True)


def _legend(labels: Sequence[str]) -> list[Trace]:
    """Names and colours alone."""
    return [Trace(label_title(label), label_colour(label, index), "") for index, label in enumerate(labels)]


def _looks(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Title and colour of each label."""
    return {label: (label_title(label), label_colour(label, index)) for index, label in enumerate(labels)}
