"""Distances between the classes of two data sets as a picture: figure 8 of the gated ensemble's document (D000)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ("label_distance_heat_map",)

_CELL = (1.15, 0.8)  # inches
_MOST_NUMBERS = 30  # classes a side up to which each cell has its number


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
    image = axis.imshow(distances, cmap="cividis", aspect="auto", interpolation="nearest")
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
        red, green, blue, _ = image.cmap(image.norm(value))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5  # ITU-R BT.601 luma
        axis.text(column, row, f"{value:.4g}", ha="center", va="center", color="black" if light else "white")
