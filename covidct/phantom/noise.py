"""Image noise with the texture of a reconstruction kernel.

Filtered back-projection gives noise whose power rises with the frequency (the ramp filter) and falls off where the
kernel cuts it; neighbouring pixels are therefore correlated, with a dip below zero, and neighbouring slices overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from covidct.phantom.grid import Floats

KERNELS = {"sharp": 0.30, "soft": 0.16}
"""Cut-off of the kernels in cycles per pixel: where the Gaussian roll-off has fallen to exp(-1)."""


class KernelNoise:
    """Endless slices of unit-variance noise; consecutive slices share a part of it."""

    _OVERLAP = 0.5  # weight of the previous slice: slice profiles overlap

    def __init__(self, rng: np.random.Generator, plane: tuple[int, int], kernel: str) -> None:
        """Prepare the filter.

        Args:
            rng: source of randomness; slices are drawn from it in order.
            plane: (H, W).
            kernel: a key of :data:`KERNELS`.
        """
        fy, fx = np.fft.fftfreq(plane[0])[:, None], np.fft.rfftfreq(plane[1])[None, :]
        f = np.hypot(fy, fx)
        response = np.sqrt(f + 0.02) * np.exp(-0.5 * (f / KERNELS[kernel]) ** 2)
        full = np.hypot(fy, np.fft.fftfreq(plane[1])[None, :])
        power = ((full + 0.02) * np.exp(-((full / KERNELS[kernel]) ** 2))).mean()
        self._response = (response / np.sqrt(power * (1 + self._OVERLAP**2))).astype(np.float32)
        self._rng = rng
        self._plane = plane
        self._last = self._draw(1)

    def _draw(self, count: int) -> Floats:
        white = self._rng.standard_normal((count, *self._plane), dtype=np.float32)
        filtered = fft.irfft2(fft.rfft2(white) * self._response, s=self._plane)
        return np.asarray(filtered, dtype=np.float32)

    def take(self, count: int) -> Floats:
        """The next ``count`` slices, (count, H, W) float32; the result does not depend on how calls are cut."""
        fresh = np.concatenate([self._last, self._draw(count)])
        self._last = fresh[-1:]
        return fresh[1:] + np.float32(self._OVERLAP) * fresh[:-1]
