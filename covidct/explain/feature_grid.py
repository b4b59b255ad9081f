"""``feature_grid``: the picture of :func:`covidct.explain.feature_maps`, layers down and models across."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from covidct.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from covidct.explain.feature_maps import FeatureMaps, LayerMaps

__all__ = ("feature_grid",)

Scale = Literal["model", "layer", "map"]

_CELL = 3.0  # inches of a layer of a model
_SLICE = 0.8  # width of the slice in cells
_LETTERS = 8
_GAP = 0.06  # of a tile's side between tiles


def feature_grid(features: FeatureMaps, *, scale: Scale = "model") -> Figure:
    """Draw feature maps: a row per layer, in it the slice or nothing and a mosaic per model.

    The first tile of a mosaic is the mean over all channels of the layer, the others are single channels with their
    number. Above stands what black and white mean; the mean has a scale of its own, since it is far weaker than any
    single channel.

    Args:
        features: of :func:`covidct.explain.feature_maps`.
        scale: ``"model"``: the channels of a layer of one model share a scale, from their least to their greatest
            value; ``"layer"``: those of all models do, which shows which model has the stronger maps, though each has a
            unit of its own; ``"map"``: each map has its own, which shows the most and compares nothing.

    Returns:
        A matplotlib figure that belongs to no window; save it with ``figure.savefig``.

    Raises:
        UsageError: for an unknown scale.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if scale not in ("model", "layer", "map"):
        raise UsageError(f"scale={scale!r} is unknown: use 'model', 'layer' or 'map'.")
    rows, columns = len(features.rows), len(features.rows[0])
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)
    figure = Figure(figsize=(_CELL * (columns + _SLICE) + 0.5, (_CELL + 0.5) * rows), layout=layout)
    axes = figure.subplots(rows, columns + 1, squeeze=False, width_ratios=[_SLICE, *[1] * columns])
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0, 0].imshow(features.image, cmap="gray")
    axes[0, 0].set_title(f"slice: {_range(*_limits([features.image]))}", fontsize=_LETTERS)
    for line, row in zip(axes[:, 1:], features.rows, strict=True):
        common = _limits([cell.maps for cell in row])
        for axis, cell in zip(line, row, strict=True):
            _draw(axis, cell, None if scale == "map" else common if scale == "layer" else _limits([cell.maps]))
    figure.supxlabel("black is the first number of a scale, white the second; the mean has its own", fontsize=_LETTERS)
    return figure


def _draw(axis: Any, cell: LayerMaps, limits: tuple[float, float] | None) -> None:  # noqa: ANN401  (matplotlib has no types)
    """One mosaic, its title and the numbers of its channels."""
    tiles = [_unit(cell.mean, *_limits([cell.mean]))]
    tiles += [_unit(one, *(limits or _limits([one]))) for one in cell.maps]
    across = int(np.ceil(np.sqrt(len(tiles))))
    height, width = cell.mean.shape
    gap = max(1, round(_GAP * min(height, width)))
    canvas = np.full((-(-len(tiles) // across) * (height + gap) - gap, across * (width + gap) - gap), np.nan)
    labels = ["mean", *(str(channel) for channel in cell.channels)]
    for number, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        top, left = number // across * (height + gap), number % across * (width + gap)
        canvas[top : top + height, left : left + width] = tile
        axis.text(
            left - 0.5,
            top - 0.5,
            label,
            fontsize=6,
            va="top",
            color="black",
            bbox={"fc": "white", "ec": "none", "pad": 0.6},
        )
    axis.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    own = "each its own range" if limits is None else _range(*limits)
    axis.set_title(
        f"{cell.model}: {cell.layer}\n{len(cell.maps)} of {cell.width} channels, {height} x {width}: {own}\n"
        f"mean of all channels: {_range(*_limits([cell.mean]))}",
        fontsize=_LETTERS,
    )


def _limits(arrays: list[NDArray[np.float32]]) -> tuple[float, float]:
    """Least and greatest value."""
    return min(float(one.min()) for one in arrays), max(float(one.max()) for one in arrays)


def _range(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}"


def _unit(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Values from low to high as 0 to 1; all 0 where they are all the same."""
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
