"""Mask-weighted global average pooling: the lung mask, brought to the size of a feature map, weighs its cells.

For slice n and channel k, ``F_k = sum_ij M_ij A_kij`` with weights M >= 0 that sum to one. The order downscale, smooth,
normalise is the one of the document; it is silent about the rule of downscaling, the width of the Gaussian and the
empty mask: area averaging, one cell and plain averaging are our recommendations.

Both functions use only operations that autocast leaves in float32, and no data-dependent branches, so they export.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F

from covidct.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("mask_weighted_gap", "mask_weights")

_TRUNCATE = 4.0  # radius of the Gaussian in sigmas, scipy.ndimage's default; the rest holds 6e-5 of its weight


def mask_weights(
    mask: Tensor,
    size: tuple[int, int] = (7, 7),
    sigma: float = 1.0,
    padding: Literal["zero", "reflect"] = "zero",
) -> Tensor:
    """Turn lung masks into pooling weights.

    Args:
        mask: (N, 1, H, W), any dtype; every value above 0 is lung. Any H, W (also smaller than ``size``).
        size: cells (h, w) of the feature map; 7 x 7 is ResNet at 224 x 224.
        sigma: width of the Gaussian in cells; 0 leaves the area fractions as they are.
        padding: what lies beyond the border: ``"zero"``, or ``"reflect"`` (d c b a | a b c d | d c b a).

    Returns:
        (N, 1, h, w) float32, non-negative, each slice sums to 1. A slice without lung gets 1 / (h w) everywhere, which
        is plain average pooling.

    Raises:
        UsageError: when ``mask`` is not (N, 1, H, W), ``sigma`` is negative or ``padding`` unknown.
    """
    if mask.ndim != 4 or mask.shape[1] != 1:
        raise UsageError(f"mask_weights needs masks (N, 1, H, W), these have shape {tuple(mask.shape)}.")
    if not sigma >= 0 or padding not in ("zero", "reflect"):
        raise UsageError(f"sigma must be >= 0 and padding 'zero' or 'reflect', not {sigma} and {padding!r}.")
    cells = F.adaptive_avg_pool2d((mask > 0).to(torch.float32), size)
    if sigma > 0:
        rows, columns = (_gaussian_matrix(n, sigma, reflect=padding == "reflect", like=cells) for n in size)
        cells = (rows[:, :, None] * cells[:, :, None]).sum(-2)  # products and sums, not matmul: autocast would halve it
        cells = (cells[:, :, :, None] * columns).sum(-1)
    total = cells.sum((-2, -1), keepdim=True)
    uniform = torch.full_like(cells, 1.0 / (size[0] * size[1]))
    return torch.where(total > 0, cells / total.clamp_min(torch.finfo(torch.float32).tiny), uniform)


def mask_weighted_gap(features: Tensor, weights: Tensor) -> Tensor:
    """Pool feature maps with weights: ``F_k = sum_ij M_ij A_kij``.

    Args:
        features: (N, C, h, w), any floating dtype.
        weights: (N, 1, h, w) as :func:`mask_weights` gives them.

    Returns:
        (N, C) in float32, also for half-precision features and under autocast (float64 stays float64).

    Raises:
        UsageError: when the shapes do not belong together.
    """
    if features.ndim != 4 or weights.shape != (features.shape[0], 1, *features.shape[2:]):
        raise UsageError(
            f"Features {tuple(features.shape)} need weights (N, 1, h, w) of the same N, h and w, "
            f"not {tuple(weights.shape)}."
        )
    return (features * weights).sum((-2, -1))


def _gaussian_matrix(cells: int, sigma: float, *, reflect: bool, like: Tensor) -> Tensor:
    """(cells, cells) matrix that smooths along one axis; row i weighs the cells j. Not normalised: the caller is."""
    radius = int(_TRUNCATE * sigma + 0.5)
    index = torch.arange(cells, dtype=like.dtype, device=like.device)
    turns = range(-(radius // (2 * cells) + 1), radius // (2 * cells) + 2) if reflect else range(1)
    images = [index + 2 * cells * turn for turn in turns]
    if reflect:
        images += [-1 - image for image in images]
    distance = index[:, None, None] - torch.stack(images, -1)
    return torch.where(distance.abs() <= radius, torch.exp(-0.5 * (distance / sigma) ** 2), 0.0).sum(-1)
