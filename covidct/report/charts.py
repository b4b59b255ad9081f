"""Numbers to SVG coordinates; the templates draw them with the page's colours, so that charts follow dark mode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("Frame", "Tick", "jitter")


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its place in SVG units and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing area inside an SVG view box, with the range of the data.

    Attributes:
        width: of the view box.
        height: of the view box.
        x: range of the data.
        y: range of the data.
        margin: left, top, right, bottom, in view box units.
    """

    width: float = 380
    height: float = 320
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    margin: tuple[float, float, float, float] = (54, 12, 14, 46)

    @property
    def left(self) -> float:
        """Left edge of the drawing area."""
        return self.margin[0]

    @property
    def right(self) -> float:
        """Right edge of the drawing area."""
        return self.width - self.margin[2]

    @property
    def top(self) -> float:
        """Top edge of the drawing area."""
        return self.margin[1]

    @property
    def bottom(self) -> float:
        """Bottom edge of the drawing area."""
        return self.height - self.margin[3]

    def at_x(self, value: float) -> float:
        """Place of a value along x."""
        low, high = self.x
        return round(self.left + (value - low) / (high - low) * (self.right - self.left), 1)

    def at_y(self, value: float) -> float:
        """Place of a value along y (upwards)."""
        low, high = self.y
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - self.top), 1)

    def line(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """SVG path through the points; points that are not finite break the line."""
        parts, pen = [], "M"
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                parts.append(f"{pen}{self.at_x(x):g} {self.at_y(y):g}")
                pen = "L"
            else:
                pen = "M"
        return "".join(parts)

    def band(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
        """Closed SVG paths between two lines over the same ``xs``, one per run of finite points; empty without any."""
        points = zip(xs, low, high, strict=True) if low else ()
        runs = groupby(points, key=lambda point: all(map(math.isfinite, point)))
        return "".join(self._closed(list(run)) for finite, run in runs if finite)

    def _closed(self, points: Sequence[tuple[float, float, float]]) -> str:
        """Closed SVG path around points (x, low, high)."""
        upper, lower = [(x, high) for x, _, high in points], [(x, low) for x, low, _ in reversed(points)]
        return self.line(*zip(*upper, *lower, strict=True)) + "Z"

    def x_ticks(self, values: Sequence[float], *, form: str = "g") -> list[Tick]:
        """Marks along x."""
        return [Tick(self.at_x(value), format(value, form)) for value in values]

    def y_ticks(self, values: Sequence[float], *, form: str = "g") -> list[Tick]:
        """Marks along y."""
        return [Tick(self.at_y(value), format(value, form)) for value in values]


def jitter(number: int) -> float:
    """A fixed, even spread in [-0.5, 0.5) of the points of a strip plot: the golden ratio's sequence."""
    return (number * 0.6180339887498949) % 1.0 - 0.5
