"""Distances between the classes of two data sets as a picture: figure 8 of the gated ensemble's document (D000)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ("HeatCell", "heat_cells", "heat_gradient", "label_distance_heat_map")

_MAP = "cividis"  # told apart under every kind of colour vision
_STOPS = 16  # of the gradient of a colour bar
_CELL = (1.15, 0.8)  # inches
_MOST_NUMBERS = 30  # classes a side up to which each cell has its number


@dataclass(frozen=True, slots=True)
class HeatCell:
    """A cell of a heat map on a page: its number, the colours of ground and letters, and whether it is framed."""

    text: str
    ground: str
    ink: str
    nearest: bool


def heat_cells(distances: NDArray[Any]) -> list[list[HeatCell]]:
    """The cells of :func:`label_distance_heat_map` for a table of a page, which fits every width, light and dark.

    Args:
        distances: (C1, C2).
    """
    low, high = float(np.min(distances)), float(np.max(distances))
    shares = (distances - low) / (high - low) if high > low else np.zeros(distances.shape)
    return [
        [
            HeatCell(f"{value:.4g}", _css(share), "#000" if _light(_rgb(share)) else "#fff", bool(j == row.argmin()))
            for j, (value, share) in enumerate(zip(row, line, strict=True))
        ]
        for row, line in zip(distances, shares, strict=True)
    ]


def heat_gradient() -> str:
    """The colours of a heat map from low to high, for a CSS gradient."""
    return ", ".join(_css(stop / _STOPS) for stop in range(_STOPS + 1))


def label_distance_heat_map(
    distances: NDArray[Any],
    rows: Sequence[Any],
    columns: Sequence[Any],
    *,
    row_title: str = "",
    column_title: str = "",
    title: str = "",
) -> Figure:
    """Draw squared distances of every class to every class, the smallest of each row framed.

    The colours (cividis) are told apart under every kind of colour vision, and each cell has its number.

    Args:
        distances: (C1, C2), such as :attr:`covidct.curation.DatasetDistance.label_distance`.
        rows: names of the classes of the first set.
        columns: names of those of the second.
        row_title: what the first set is.
        column_title: what the second set is.
        title: headline.

    Returns:
        A matplotlib figure free of any global state; :func:`covidct.report.write_panel` writes it.

    Raises:
        UsageError: when the names do not fit the distances, or there are none.
    """
    if distances.shape != (len(rows), len(columns)) or not distances.size:
        raise UsageError(
            f"The distances have the shape {distances.shape} for {len(rows)} and {len(columns)} classes: give one name "
            "per row and per column."
        )
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    size = (2.6 + min(_CELL[0] * len(columns), 12), 1.5 + min(_CELL[1] * len(rows), 10))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(distances, cmap=_MAP, aspect="auto", interpolation="nearest")
    axis.set_xticks(range(len(columns)), [str(name) for name in columns])
    axis.set_yticks(range(len(rows)), [str(name) for name in rows])
    if max(len(line) for name in columns for line in str(name).split("\n")) > 11:
        axis.tick_params("x", rotation=30)
    axis.set(xlabel=column_title, ylabel=row_title)
    axis.set_title(title, fontsize="medium")
    for k, row in enumerate(distances):
        nearest = int(row.argmin())
        for width, colour in ((5.0, "black"), (2.0, "white")):  # seen on every colour of the map
            frame = Rectangle((nearest - 0.46, k - 0.46), 0.92, 0.92, fill=False, edgecolor=colour, linewidth=width)
            axis.add_patch(frame)
    if max(distances.shape) <= _MOST_NUMBERS:
        _write_numbers(axis, distances, image)
    bar = figure.colorbar(image, ax=axis)
    bar.set_label("squared 2-Wasserstein distance", fontsize="small")
    bar.ax.tick_params(labelsize="small")
    figure.supxlabel("framed: the nearest class of the row", fontsize="x-small", color="0.35")
    return figure


def _write_numbers(axis: Any, distances: NDArray[Any], image: Any) -> None:  # noqa: ANN401  (matplotlib has no types)
    """Each cell's number, black on light and white on dark."""
    for (row, column), value in np.ndenumerate(distances):
        light = _light(image.cmap(image.norm(value))[:3])
        axis.text(column, row, f"{value:.4g}", ha="center", va="center", color="black" if light else "white")


def _rgb(share: float) -> tuple[float, float, float]:
    """Colour of a share of the scale, each part in [0, 1]."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps[_MAP](float(share))
    return red, green, blue


def _css(share: float) -> str:
    """The same for a page."""
    return "rgb({} {} {})".format(*(round(255 * part) for part in _rgb(share)))


def _light(colour: tuple[float, float, float]) -> bool:
    """Whether black letters are read on it."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.5  # ITU-R BT.601 luma
