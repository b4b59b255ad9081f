"""Lung masks of chest X-rays: what a network's mask is cleaned of, and the share of the image that it covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("clean_lung_mask", "lung_area_share")


def clean_lung_mask(
    mask: NDArray[Any], *, smallest_object: float = 0.02, smallest_hole: float = 0.01
) -> NDArray[np.uint8]:
    """Remove small objects, then fill small holes, of a lung mask of a chest X-ray.

    The chest X-ray system ("Classification of COVID-19 from chest X-ray images using Deep Neural Networks", 2022) does
    both and gives no sizes: the shares are a recommendation. Parts are connected by 4 neighbours; background that
    reaches the border is no hole, whatever its size.

    Args:
        mask: (H, W) bool or integer, non-zero inside.
        smallest_object: share of the image, in [0, 1]; parts of less go. 0.02 is 1311 px of 256 x 256.
        smallest_hole: share of the image, in [0, 1]; holes of less are filled.

    Returns:
        (H, W) uint8, 0 and 1. Cleaning it again changes nothing.

    Raises:
        InputError: when the mask is not of that form.
        UsageError: for a share out of range.
    """
    _require_mask(mask)
    for name, share in (("smallest_object", smallest_object), ("smallest_hole", smallest_hole)):
        if not 0 <= share <= 1:
            raise UsageError(f"{name}={share} is not usable: give a share of the image in [0, 1].")
    from scipy import ndimage

    inside = np.asarray(mask != 0)
    parts, _ = ndimage.label(inside)
    kept = np.bincount(parts.ravel()) >= smallest_object * mask.size
    kept[0] = False
    cleaned = kept[parts]
    gaps, _ = ndimage.label(~cleaned)
    filled = np.bincount(gaps.ravel()) < smallest_hole * mask.size
    border = np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]])
    filled[border] = False
    return np.asarray(cleaned | filled[gaps], dtype=np.uint8)


def lung_area_share(mask: NDArray[Any]) -> float:
    """The share of a chest X-ray that its lung mask covers, in [0, 1].

    Args:
        mask: (H, W) bool or integer, non-zero inside; right and left are one.

    Returns:
        Set pixels by all pixels: 0 of an empty mask, 1 of a full one.

    Raises:
        InputError: when the mask is not of that form.
    """
    _require_mask(mask)
    return float(np.count_nonzero(mask) / mask.size)


def _require_mask(mask: NDArray[Any]) -> None:
    """Refuse what is no mask of one image."""
    if mask.ndim != 2 or not mask.size or mask.dtype.kind not in "bui":
        raise InputError(
            f"A {mask.dtype} array of shape {mask.shape} is no mask of an X-ray: give bool or integers (H, W)."
        )
