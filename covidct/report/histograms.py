"""Histograms: columns of counts, stacked by class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from covidct.report.charts import Frame
from covidct.report.figures import Chart, Column, Trace, round_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ("histogram_chart", "stacked_columns", "whole_ticks")

_BINS = 20  # at most
_TICKS = 5


def histogram_chart(
    title: str, x_title: str, values: Mapping[str, Sequence[float]], looks: Mapping[str, tuple[str, str]], *, what: str
) -> Chart | None:
    """How often values occur, by class, in bins with round edges; None with fewer than two finite values.

    Args:
        title: of the chart.
        x_title: of the axis, with the unit.
        values: class to its values, from the lowest column upwards; what is not finite is left out.
        looks: title and colour of each class.
        what: is counted, in the plural.
    """
    finite = {name: [value for value in some if math.isfinite(value)] for name, some in values.items()}
    known = [value for some in finite.values() for value in some]
    if len(known) < 2:
        return None
    low, step, count = _round_bins(min(known), max(known))
    edges = [low + step * number for number in range(count + 1)]
    counts = {name: np.histogram(some, edges)[0].tolist() for name, some in finite.items()}
    top = max(sum(column) for column in zip(*counts.values(), strict=True))
    frame = Frame(width=380, height=240, x=(edges[0], edges[-1]), y=(0, 1.08 * top), margin=(46, 10, 14, 46))
    bins = [f"{_number(a)} to {_number(a + step)}" for a in edges[:-1]]
    every = math.ceil(count / _TICKS)
    return Chart(
        frame,
        title,
        x_title,
        "",
        frame.x_ticks(edges[::every], form=".6g"),
        frame.y_ticks(whole_ticks(top)),
        traces=[Trace(*looks[name], "") for name, some in finite.items() if some],
        columns=stacked_columns(frame, counts, bins, looks, what=what),
    )


def stacked_columns(
    frame: Frame,
    counts: Mapping[str, Sequence[int]],
    bins: Sequence[str],
    looks: Mapping[str, tuple[str, str]],
    *,
    what: str,
) -> list[Column]:
    """One column per bin and class, on top of one another.

    Args:
        frame: whose x range the bins divide evenly.
        counts: class to a count per bin, from the lowest column upwards.
        bins: what each bin is called.
        looks: title and colour of each class.
        what: is counted, in the plural.
    """
    columns = []
    low, high = frame.x
    step = (high - low) / len(bins)
    gap = 0.08 * step
    for number, title in enumerate(bins):
        below = 0
        for name, of_class in counts.items():
            if not of_class[number]:
                continue
            left, right = frame.at_x(low + step * number + gap), frame.at_x(low + step * (number + 1) - gap)
            bottom, top = frame.at_y(below), frame.at_y(below + of_class[number])
            text = f"{title}, {looks[name][0]}: {of_class[number]} {what}"
            columns.append(Column(left, top, round(right - left, 1), round(bottom - top, 1), looks[name][1], text))
            below += of_class[number]
    return columns


def whole_ticks(top: int) -> list[int]:
    """Two whole numbers up to ``top``, or one."""
    return sorted({max(1, top // 2), top})


def _round_bins(low: float, high: float) -> tuple[float, float, int]:
    """Lowest edge, width and number of bins that hold ``low`` to ``high``, at most 20 and their edges round."""
    span = (high - low) or max(abs(high), 1.0)
    scale = 10.0 ** math.floor(math.log10(span / _BINS))
    step = scale * round_step(span / _BINS / scale)
    first = math.floor(low / step)
    return first * step, step, max(1, math.floor(high / step + 1e-9) + 1 - first)


def _number(value: float) -> str:
    """An edge with the digits that matter."""
    return f"{value:.6g}"
