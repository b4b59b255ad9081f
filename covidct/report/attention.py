"""Slice attention on the page of a scan: a chart of N times the share, a montage, and the slices called positive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from covidct.report.charts import Frame
from covidct.report.figures import Chart, Dot, Trace, round_step
from covidct.report.pictures import slice_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.result import ScanResult

__all__ = ("AttentionView", "MontagePair", "attention_view", "index_ranges", "most_attended", "times_even")


@dataclass(frozen=True, slots=True)
class MontagePair:
    """One slice of a montage.

    Attributes:
        index: of the slice in the volume the network saw.
        width: of the slice in pixels.
        height: of the slice in pixels.
        image: data URI of the grey slice.
        faded: data URI of what attention leaves of it.
        times: its share times the number of slices.
        positive: whether it is called positive.
    """

    index: int
    width: int
    height: int
    image: str
    faded: str
    times: float
    positive: bool


@dataclass(frozen=True, slots=True)
class AttentionView:
    """What a page shows of slice attention.

    Attributes:
        chart: N times the share from feet to head; None with fewer than two slices.
        pairs: the montage.
        count: N, slices of the scan.
        positive: the slices called positive, as ranges in words; empty when there are none.
    """

    chart: Chart | None
    pairs: Sequence[MontagePair]
    count: int
    positive: str


def attention_view(scan: ScanResult, *, along: Sequence[float] = ()) -> AttentionView | None:
    """Prepare the slice attention of a scan for a template; None without any.

    Args:
        scan: the result.
        along: N times the share at each slice of a viewer, over which the chart then goes, without dots; empty without
            a viewer.
    """
    times = times_even(scan)
    count = sum(map(math.isfinite, times))
    if not count:
        return None
    pairs, montage = [], scan.montage
    for number, index in enumerate(montage.indices if montage else ()):
        slice_, faded = montage.slices[number], montage.faded[number]  # type: ignore[union-attr]
        height, width = slice_.shape
        found = index in scan.positive_slices
        pairs.append(MontagePair(index, width, height, slice_uri(slice_), slice_uri(faded), times[index], found))
    return AttentionView(
        attention_chart(along or times, shown=[] if along else [pair.index for pair in pairs]),
        pairs,
        count,
        index_ranges(scan.positive_slices),
    )


def attention_chart(times: Sequence[float], *, shown: Sequence[int]) -> Chart | None:
    """N times the share of each slice, the even share dashed; None with fewer than two slices.

    Args:
        times: of each slice, feet to head; NaN on those that are none of the scan's.
        shown: slices of the montage, to which dots lead.
    """
    finite = [value for value in times if math.isfinite(value)]
    if len(finite) < 2:
        return None
    top = max(1.25, *finite)
    frame = Frame(width=640, height=240, x=(0, len(times) - 1), y=(0, 1.05 * top), margin=(10, 10, 14, 54))
    xs = range(len(times))
    dots = [
        Dot(
            frame.at_x(index),
            frame.at_y(times[index]),
            5,
            "var(--accent)",
            f"slice {index}: {times[index]:.2f} times an even share",
            f"#attention-{index}",
        )
        for index in shown
    ]
    line = frame.line(xs, times)
    return Chart(
        frame,
        "Slice attention from feet to head",
        "Slice, feet to head",
        "",
        frame.x_ticks(range(0, len(times), round_step((len(times) - 1) / 6))),
        frame.y_ticks(sorted({1.0, round(top, 2)}), form=".3g"),
        traces=[Trace("", "var(--accent)", line, frame.band(xs, [0.0] * len(times), times))],
        dots=dots,
        diagonal=frame.line((0, len(times) - 1), (1, 1)),
        wide=True,
    )


def times_even(scan: ScanResult) -> list[float]:
    """Each slice's share of the attention times the number of the scan's slices; NaN on those that are none of them."""
    count = sum(map(math.isfinite, scan.attention))
    return [count * share for share in scan.attention]


def most_attended(scan: ScanResult) -> tuple[int, float] | tuple[None, None]:
    """Index of the slice of most attention and N times its share; None twice without attention."""
    times = times_even(scan)
    known = [index for index, value in enumerate(times) if math.isfinite(value)]
    if not known:
        return None, None
    best = max(known, key=times.__getitem__)
    return best, times[best]


def index_ranges(indices: Sequence[int]) -> str:
    """Indices in words, runs of them as ranges: "3, 7 to 9"."""
    runs = [[index for _, index in run] for _, run in groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
