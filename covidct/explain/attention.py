"""Pictures of slice attention and of the enhancements: figures 5, 6 and 7 of the ResNeXt+ document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError
from covidct.functional import stochastic_enhance, tone_map

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ("attention_curves", "attention_figure", "enhancement_figure", "fade")

_OFFSET = 0.001  # of the exponent of figure 6
_WIDTH = 1.25  # inches per slice of a figure


def fade(slices: NDArray[Any], attention: NDArray[Any], *, literal: bool = False) -> NDArray[np.float32]:
    """Slices that turn black with falling attention: I^(0.001 + 1 / alpha), figure 6 of the document.

    Since alpha sums to one over the slices, the printed exponent is at least their number and blackens every slice:
    alpha is divided by its maximum first, which leaves the slice of highest attention as it is.

    Args:
        slices: (N, H, W) float in [0, 1].
        attention: (N,) shares, not negative; NaN counts as 0.
        literal: take alpha as it is, as printed.

    Returns:
        (N, H, W) float32 in [0, 1].

    Raises:
        UsageError: when there is not one share per slice, or none is positive.
    """
    alpha = np.nan_to_num(np.asarray(attention, dtype=np.float64), nan=0.0)
    if slices.ndim != 3 or alpha.shape != slices.shape[:1] or not (alpha >= 0).all() or not alpha.any():
        raise UsageError(
            f"{slices.shape} slices and {alpha.shape} shares do not fit: give (N, H, W) slices and N shares, none "
            "negative, one at least positive."
        )
    if not literal:
        alpha = alpha / alpha.max()
    black = alpha <= 1e-6  # the power would overflow, and is black long before
    exponent = _OFFSET + 1 / np.where(black, 1.0, alpha)
    faded = np.clip(slices, 0, 1).astype(np.float64) ** exponent[:, None, None]
    faded[black] = 0
    return np.asarray(faded, dtype=np.float32)


def attention_figure(
    slices: NDArray[Any], lung_mask: NDArray[Any], attention: NDArray[Any], *, count: int = 9
) -> Figure:
    """Figure 6: slices, their masks, the slices faded by attention, and the attention as grey.

    Args:
        slices: (N, H, W) float in [0, 1], feet to head.
        lung_mask: (N, H, W), above 0 where lung.
        attention: (N,) shares that sum to one.
        count: slices shown, evenly spread.

    Returns:
        A matplotlib figure of four rows, free of any global state.

    Raises:
        UsageError: when the shapes do not fit.
    """
    from matplotlib.figure import Figure

    faded = fade(slices, attention)
    if lung_mask.shape != slices.shape or count < 1:
        raise UsageError(f"The mask has shape {lung_mask.shape}, the slices {slices.shape}; count={count}.")
    shares = np.nan_to_num(attention)
    chosen = np.unique(np.linspace(0, len(slices) - 1, min(count, len(slices))).round().astype(int))
    figure = Figure(figsize=(_WIDTH * len(chosen) + 0.8, 4 * _WIDTH + 0.4), layout="constrained")
    axes = figure.subplots(4, len(chosen), squeeze=False)
    grey = np.broadcast_to((shares / shares.max())[:, None, None], slices.shape)
    rows = (("slice", slices), ("lung mask", lung_mask > 0), ("by attention", faded), ("attention", grey))
    for line, (name, pictures) in zip(axes, rows, strict=True):
        for axis, index in zip(line, chosen, strict=True):
            axis.imshow(pictures[index], cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(name)
    for axis, index in zip(axes[0], chosen, strict=True):
        axis.set_title(f"{index}: {len(slices) * shares[index]:.2f}", fontsize=8)
    figure.supxlabel("slice number, feet to head: N x share (1 = no more than others)", fontsize=8)
    return figure


def attention_curves(attention: Mapping[str, NDArray[Any]]) -> Figure:
    """Figure 5: attention along the body, a line per scan, times the number of slices so that scans compare.

    Args:
        attention: name of a scan to its (N,) shares.

    Returns:
        A matplotlib figure; the line at 1 is the decision rule share >= 1 / N.

    Raises:
        UsageError: when there is no scan, or one without slices.
    """
    from matplotlib.figure import Figure

    if not attention or any(np.ndim(shares) != 1 or not len(shares) for shares in attention.values()):
        raise UsageError("Give the shares of at least one scan, one number per slice.")
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axis = figure.subplots()
    for name, shares in attention.items():
        axis.plot(np.linspace(0, 1, len(shares)), len(shares) * np.asarray(shares), label=name)
    axis.axhline(1.0, color="grey", linestyle="--", linewidth=1)
    axis.set_xlabel("place in the scan, feet (0) to head (1)")
    axis.set_ylabel("N x share of attention")
    axis.set_ylim(bottom=0)
    axis.legend()
    return figure


def enhancement_figure(image: NDArray[Any], *, seed: int = 0) -> Figure:
    """Figure 7: a slice as it is, after stochastic enhancement, after tone mapping.

    Args:
        image: (H, W) float in [0, 1].
        seed: of the walks.

    Returns:
        A matplotlib figure of three panels.
    """
    from matplotlib.figure import Figure

    panels = {
        "original": image,
        "stochastic enhancement": stochastic_enhance(image, seed=seed),
        "tone mapping": tone_map(image),
    }
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    for axis, (name, picture) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(name)
        axis.set_axis_off()
    return figure
