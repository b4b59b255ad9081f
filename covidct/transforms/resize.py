"""In-plane size of slices and images: pixels, masks, spacing and affine together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ("resize_affine", "resize_slices", "resize_spacing")


def resize_slices(
    stack: NDArray[Any], masks: Mapping[str, NDArray[np.uint8] | None], size: int | None
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.uint8] | None]]:
    """Resize (N, H, W) slices to a square: area averages downwards, bilinear upwards, masks by nearest centre."""
    pixels = stack.astype(np.float32)
    if size is None or pixels.shape[1:] == (size, size):
        return pixels, dict(masks)
    way = cv2.INTER_AREA if min(pixels.shape[1:]) >= size else cv2.INTER_LINEAR
    image = np.stack([cv2.resize(plane, (size, size), interpolation=way) for plane in pixels])
    resized = {
        key: None
        if mask is None
        else np.stack([cv2.resize(plane, (size, size), interpolation=cv2.INTER_NEAREST_EXACT) for plane in mask])
        for key, mask in masks.items()
    }
    return image, resized


def resize_spacing(spacing: Sequence[float], before: Sequence[int], after: Sequence[int]) -> NDArray[np.float32]:
    """Spacing (height, width) after resizing from ``before`` to ``after`` pixels."""
    return np.asarray(np.asarray(spacing) * np.asarray(before) / np.asarray(after), dtype=np.float32)


def resize_affine(affine: NDArray[np.float64], before: Sequence[int], after: Sequence[int]) -> NDArray[np.float64]:
    """Voxel (w, h, d) -> LPS mm after resizing (H, W) slices: the edges of the slice stay where they are."""
    factor = np.array([before[1] / after[1], before[0] / after[0], 1.0])
    scaled = affine.copy()
    scaled[:3, :3] = affine[:3, :3] * factor
    scaled[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((factor - 1) / 2)
    return scaled
