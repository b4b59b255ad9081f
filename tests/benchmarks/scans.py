"""The scan of the benchmarks: a phantom at 300 x 512 x 512 with the noise of a sharp kernel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from covidct.phantom import simulate_ct
from covidct.volume import Volume

SHAPE = (300, 512, 512)


def large_scan(seed: int = 0) -> Volume:
    """A COVID phantom brought to 300 x 512 x 512 by linear interpolation, with 40 HU of noise, int16."""
    small = simulate_ct(seed, diagnosis="covid").volume
    factors = [n / s for n, s in zip(SHAPE, small.shape, strict=True)]
    array = ndimage.zoom(small.array.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest")
    rng = np.random.default_rng(seed)
    hu = np.empty(SHAPE, np.int16)
    for out, one in zip(hu, array, strict=True):
        out[:] = np.clip(one + 40 * rng.standard_normal(one.shape, np.float32), -1024, 3071)
    affine = small.affine.copy()
    affine[:3, :3] /= factors[::-1]
    return Volume(hu, affine)
