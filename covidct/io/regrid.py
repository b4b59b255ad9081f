"""Carry label maps between grids: by moving voxels where the grids are the same, else by the nearest voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.io.geometry import canonical_axes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("regrid_labels",)


def regrid_labels(
    labels: NDArray[np.uint8],
    affine: NDArray[np.float64],
    *,
    target: NDArray[np.float64],
    shape: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """Give each voxel of the target grid the label of the nearest voxel of the given one, 0 outside.

    Where the two grids differ by a permutation and flips of their axes alone, voxels are moved and nothing is computed;
    "alone" means that no voxel centre is half a voxel or more from its counterpart, so that both ways give the same.

    Args:
        labels: (k, j, i) uint8.
        affine: (4, 4) float64 of ``labels``, voxel (i, j, k) to LPS mm.
        target: (4, 4) float64 of the wanted grid, voxel (i, j, k) to LPS mm.
        shape: (k, j, i) voxels of the wanted grid.

    Returns:
        uint8 of ``shape``.
    """
    seen = np.linalg.inv(affine) @ target  # target voxel to voxel of labels
    axes = canonical_axes(seen)  # the same question as for LPS, asked in voxels
    if axes.shape(shape) == labels.shape and _centres_match(axes.affine(seen, shape), labels.shape):
        return np.ascontiguousarray(axes.source(labels))
    from scipy import ndimage  # only where it is needed

    result = np.empty(shape, dtype=np.uint8)
    ndimage.affine_transform(
        labels, seen[2::-1, 2::-1], offset=seen[2::-1, 3], output=result, order=0, mode="grid-constant", cval=0
    )
    return result


def _centres_match(seen: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether an affine between voxels moves no centre of the grid by half a voxel: enough to look at its corners."""
    ends = [(0.0, n - 1.0) for n in shape[::-1]]
    centres = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    moved = centres @ seen[:3, :3].T + seen[:3, 3]
    return bool(np.abs(moved - centres).max() < 0.499)
