"""``PixelMoments``: pixel-wise mean and standard deviation of any number of slices, in one pass and constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidct.errors import InputError, UsageError
from covidct.functional.moments import Moments, add_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("PixelMoments", "resize_slices")

_BLOCK = 16  # slices that are float64 at once


class PixelMoments:
    """Mean and standard deviation of slices, pixel by pixel.

    Blocks of slices are merged in float64 (:func:`covidct.functional.moments.add_values`).

    Args:
        size: pixels per side.
    """

    def __init__(self, size: int = 224) -> None:
        """Start without slices."""
        if size < 1:
            raise UsageError(f"size={size} must be at least one pixel.")
        self._moments = Moments(0, np.zeros((size, size)), np.zeros((size, size)))

    def update(self, slices: NDArray[np.float32]) -> None:
        """Take in slices.

        Args:
            slices: (D, size, size).

        Raises:
            InputError: for another shape.
        """
        if slices.ndim != 3 or slices.shape[1:] != self._moments.mean.shape:
            wanted = " x ".join(map(str, self._moments.mean.shape))
            raise InputError(f"Slices of shape {slices.shape} do not fit: give (D, H, W) of {wanted} pixels.")
        for start in range(0, len(slices), _BLOCK):
            self._moments = add_values(self._moments, slices[start : start + _BLOCK])

    @property
    def count(self) -> int:
        """Slices so far."""
        return self._moments.count

    @property
    def mean(self) -> NDArray[np.float64]:
        """(size, size) mean; NaN without slices."""
        return self._moments.mean.copy() if self.count else np.full_like(self._moments.mean, np.nan)

    @property
    def std(self) -> NDArray[np.float64]:
        """(size, size) standard deviation of the slices (divided by their number, numpy's default); NaN without any."""
        return self._moments.std


def resize_slices(stack: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Slices of one size, so that pixels of different images can be compared; the aspect ratio is not kept.

    Args:
        stack: (D, H, W) float32.
        size: pixels per side.

    Returns:
        (D, size, size) float32: means over areas where slices shrink, bilinear where they grow.
    """
    depth, height, width = stack.shape
    if (height, width) == (size, size):
        return stack
    way = cv2.INTER_AREA if min(height, width) >= size else cv2.INTER_LINEAR
    out = np.empty((depth, size, size), np.float32)
    for one, resized in zip(stack, out, strict=True):
        cv2.resize(one, (size, size), dst=resized, interpolation=way)
    return out
