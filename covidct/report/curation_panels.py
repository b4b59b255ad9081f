"""The pictures of the gated dual-contrast ensemble's document on its own images: morphology, equalisation, contrast.

Figures 2 and 5 to 7 of D000, and its pairs of high and low contrast (section 3.3). Matplotlib figures free of any
global state, for notebooks; :func:`write_panel` puts one into a PNG file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.atomic import atomic_path
from covidct.errors import UsageError
from covidct.functional import clahe, dilate, equalise, equalise_histogram, erode, window_hu
from covidct.functional.background import is_display

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = (
    "contrast_pair_panel",
    "equalisation_panel",
    "equalisation_pictures",
    "grey_shares",
    "morphology_panel",
    "morphology_pictures",
    "write_panel",
)

_WIDTH = 2.6  # inches of a picture
_BINS = 64
_COLOUR = "#1f6fb2"


def morphology_panel(mask: NDArray[Any], *, radius: int = 3) -> Figure:
    """A binary image, eroded and dilated by a disc (figure 2).

    Args:
        mask: (H, W) bool or uint8, non-zero is set.
        radius: of the disc in pixels, at least 1 (recommendation; the document is silent).

    Returns:
        A figure of three pictures.

    Raises:
        InputError: when the mask is no bool or uint8 array.
        UsageError: when it is no single slice, or the radius is below 1.
    """
    pictures = morphology_pictures(mask, radius=radius)
    figure, axes = _frame(1, 3)
    for axis, (name, picture) in zip(axes[0], pictures.items(), strict=True):
        _show(axis, picture, f"{name}: {np.count_nonzero(picture)} px")
    return figure


def equalisation_panel(image: NDArray[Any], *, window: tuple[float, float] | None = None) -> Figure:
    """A slice and its histogram as it is, after HE, after CLAHE, and after both (figures 5 to 7).

    Args:
        image: (H, W) uint8, float in [0, 1], or HU with a ``window``.
        window: (low, high) in HU.

    Returns:
        A figure of four pictures above their histograms; the line is the cumulated share of the pixels.

    Raises:
        UsageError: when it is no single slice, or the values are no display values and no window is given.
    """
    pictures = equalisation_pictures(image, window=window)
    figure, axes = _frame(2, 4)
    for above, below, (name, picture) in zip(axes[0], axes[1], pictures.items(), strict=True):
        _show(above, picture, name)
        _histogram(below, picture)
    axes[1, 0].set_ylabel("share of pixels")
    return figure


def contrast_pair_panel(high: NDArray[Any], low: NDArray[Any], *, scores: tuple[float, float] | None = None) -> Figure:
    """A slice of high and one of low contrast, with their histograms: what the gate parts.

    Args:
        high: (H, W) uint8 or float in [0, 1].
        low: (H, W), likewise.
        scores: of :func:`covidct.functional.contrast_score`, for the titles.

    Returns:
        A figure of two pictures beside their histograms.

    Raises:
        UsageError: when one is no single slice of display values.
    """
    for image in (high, low):
        if image.ndim != 2 or not is_display(image):
            raise UsageError("Give two slices (H, W) of display values: uint8, or float in [0, 1].")
    figure, axes = _frame(2, 2)
    notes = ("", "") if scores is None else tuple(f", score {score:.3f}" for score in scores)
    for line, image, name, note in zip(axes, (high, low), ("high contrast", "low contrast"), notes, strict=True):
        _show(line[0], _unit(image), name + note)
        _histogram(line[1], _unit(image))
        line[1].set_ylabel("share of pixels")
    return figure


def morphology_pictures(mask: NDArray[Any], *, radius: int = 3) -> dict[str, NDArray[np.bool_]]:
    """The pictures of :func:`morphology_panel` by their names, (H, W) bool."""
    if mask.ndim != 2 or radius < 1:
        raise UsageError(f"Give one mask (H, W) and a radius of at least 1, not {mask.shape} and {radius}.")
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = y**2 + x**2 <= radius**2
    set_ = mask != 0
    return {"original": set_, "eroded": erode(set_, disc), "dilated": dilate(set_, disc)}


def equalisation_pictures(image: NDArray[Any], *, window: tuple[float, float] | None = None) -> dict[str, NDArray[Any]]:
    """The pictures of :func:`equalisation_panel` by their names, (H, W) in [0, 1]."""
    if image.ndim != 2:
        raise UsageError(f"Give one slice (H, W), not {image.shape}.")
    return {
        "none": _unit(image if window is None else window_hu(image, *window)),
        "HE": _unit(equalise_histogram(image, window=window)),
        "CLAHE": _unit(clahe(image, window=window)),
        "HE, then CLAHE": _unit(equalise(image, window=window)),
    }


def grey_shares(picture: NDArray[Any]) -> NDArray[np.float64]:
    """Share of the pixels in each of 64 bins of grey values over [0, 1]."""
    return np.asarray(np.histogram(picture, bins=_BINS, range=(0, 1))[0] / picture.size, np.float64)


def write_panel(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 120) -> None:
    """Write a figure as PNG, whole or not at all.

    Args:
        figure: of this module.
        path: the file; its folder is made when absent.
        dpi: dots per inch.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def _frame(rows: int, columns: int) -> tuple[Figure, Any]:
    """A figure and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH * columns, (_WIDTH + 0.3) * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(axis: Any, picture: NDArray[Any], title: str) -> None:  # noqa: ANN401  (matplotlib has no types)
    """A grey picture of values in [0, 1]."""
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])


def _histogram(axis: Any, picture: NDArray[Any]) -> None:  # noqa: ANN401
    """Shares of the grey values, and their sum from black to white."""
    shares, edges = grey_shares(picture), np.linspace(0, 1, _BINS + 1)
    axis.bar(edges[:-1], shares, width=1 / _BINS, align="edge", color=_COLOUR)
    axis.set_xlim(0, 1)
    axis.tick_params(labelsize=7)
    cumulated = axis.twinx()
    cumulated.plot(edges[1:], np.cumsum(shares), color="black", linewidth=1)
    cumulated.set_ylim(0, 1.02)
    cumulated.set_yticks([])


def _unit(image: NDArray[Any]) -> NDArray[Any]:
    """Display values in [0, 1]."""
    return image / np.float32(255) if image.dtype == np.uint8 else image
