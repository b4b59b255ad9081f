"""The voxel grid of a phantom and smooth random fields sampled on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

FIELD_MM = (307.2, 371.2, 371.2)
"""Extent (d, h, w) that holds a whole thorax: (3.2, 2.9, 2.9) mm at 96 x 128 x 128."""

_SLAB_VOXELS = 1 << 17  # a few float32 arrays of this size stay in the cache of one core


@dataclass(frozen=True)
class Grid:
    """A canonical LPS grid centred on the thorax.

    Attributes:
        shape: voxels along (d, h, w).
        spacing: mm along (d, h, w).
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def fit(cls, shape: Sequence[int], spacing: Sequence[float] | None, field: Sequence[float] = FIELD_MM) -> Grid:
        """Check shape and spacing; without a spacing the grid spans ``field``.

        Raises:
            UsageError: for a shape or spacing that cannot hold a picture.
        """
        sizes = tuple(int(n) for n in shape)
        if len(sizes) != 3 or any(n < 2 for n in sizes) or tuple(shape) != sizes:
            raise UsageError(f"shape={tuple(shape)} is not usable: give three whole numbers of at least 2 (D, H, W).")
        if spacing is None:
            spacing = [extent / n for extent, n in zip(field, sizes, strict=True)]
        steps = tuple(map(float, spacing))
        if len(steps) != 3 or not all(np.isfinite(s) and s > 0 for s in steps):
            raise UsageError(f"spacing={spacing} is not usable: give three distances above 0 in mm (d, h, w), or None.")
        return cls((sizes[0], sizes[1], sizes[2]), (steps[0], steps[1], steps[2]))

    @cached_property
    def axes(self) -> tuple[Floats, Floats, Floats]:
        """Voxel centres in mm along d, h, w; 0 is the middle of the grid."""
        z, y, x = (
            ((np.arange(n) - (n - 1) / 2) * s).astype(np.float32) for n, s in zip(self.shape, self.spacing, strict=True)
        )
        return z, y, x

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel (w, h, d) to LPS mm."""
        affine = np.diag([*self.spacing[::-1], 1.0])
        affine[:3, 3] = [axis[0] for axis in self.axes[::-1]]
        return affine

    def slabs(self) -> Iterator[slice]:
        """Runs of slices small enough to stay in the cache, from the feet to the head."""
        step = max(1, _SLAB_VOXELS // (self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], step):
            yield slice(start, min(start + step, self.shape[0]))


class NoiseCube:
    """A periodic cube of smooth noise (zero mean, unit variance), read at any scale and place.

    One cube serves all textures of a phantom: each reads it with another cell size and another offset.
    """

    _SIZE = 48

    def __init__(self, rng: np.random.Generator, smooth: float = 1.0) -> None:
        """Draw the cube; ``smooth`` is the sigma of the blur in cells."""
        raw = rng.standard_normal((self._SIZE,) * 3, dtype=np.float32)
        cube = ndimage.gaussian_filter(raw, smooth, mode="wrap")
        self._cube: Floats = (cube - cube.mean()) / cube.std()

    def sample(self, axes: Sequence[Floats], cell_mm: float, offset: float = 0.0) -> Floats:
        """Trilinear values on the product grid of three axes.

        Args:
            axes: positions in mm along (d, h, w).
            cell_mm: size of one cell of the cube in mm.
            offset: shift in cells, to read an unrelated part.

        Returns:
            (D, H, W) float32.
        """
        values = self._cube
        for axis, positions in enumerate(axes):
            place = positions / np.float32(cell_mm) + np.float32(offset)
            low = np.floor(place)
            share = (place - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
            index = low.astype(np.intp)
            first = values.take(index, axis=axis, mode="wrap")
            values = first + share * (values.take(index + 1, axis=axis, mode="wrap") - first)
        return values


class CoarseField:
    """Values on a coarse grid, read trilinearly at any place; outside they go on as at the edge."""

    def __init__(self, values: Floats, grid: Grid) -> None:
        """Keep (D, H, W) ``values`` on ``grid``."""
        self._values, self._grid = values, grid

    def sample(self, axes: Sequence[Floats]) -> Floats:
        """Values on the product grid of three axes (mm along d, h, w)."""
        values = self._values
        for axis, positions in enumerate(axes):
            start, step, size = self._grid.axes[axis][0], self._grid.spacing[axis], self._grid.shape[axis]
            place = np.clip((positions - start) / np.float32(step), 0, size - 1.001)
            low = place.astype(np.intp)
            share = (place - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
            first = values.take(low, axis=axis)
            values = first + share * (values.take(low + 1, axis=axis) - first)
        return values
