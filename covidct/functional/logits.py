"""``labels_from_logits``: the labels of a coarse network on the fine grid of the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from covidct.errors import InputError
from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("labels_from_logits",)

_BLOCK = 4  # slices a thread takes at a time
_PARALLEL = 0.02  # voxels: axes that drift apart by less over the whole grid are taken as parallel
_FACE = 0.5 + 1e-6  # voxels from the outermost centre to the outer face, and what is left of rounding


def labels_from_logits(
    logits: NDArray[np.float32],
    *,
    affine: NDArray[np.float64],
    target_affine: NDArray[np.float64],
    shape: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """Interpolate logits linearly to another grid and take the most probable class of each voxel.

    Interpolating before the arg-max puts the outline between the voxels of the network; labels carried over by nearest
    neighbour show its voxels as steps. This goes slice by slice, so that the logits are never whole on the fine grid,
    and leaves out what lies outside the box of the coarse foreground, which is exact: where class 0 leads at all
    corners of a cell it leads inside.

    Args:
        logits: (C, D, H, W) float32 of 2 to 256 classes, class 0 being the background.
        affine: (4, 4) of the logits' grid, voxel (w, h, d) to mm.
        target_affine: (4, 4) of the wanted grid; its axes are parallel to those of ``affine``.
        shape: (D, H, W) of the wanted grid.

    Returns:
        (D, H, W) uint8, those of ``shape``; 0 beyond the outer faces of the logits' grid. Of equal logits the
        lower class counts.

    Raises:
        InputError: when the axes of the two grids are not parallel.
    """
    index = np.linalg.inv(affine) @ target_affine  # target voxel (w, h, d) -> logit voxel (w, h, d)
    matrix, offset = index[2::-1, 2::-1], index[2::-1, 3]  # now in array order (d, h, w)
    scale = np.diag(matrix)
    if (np.abs(matrix - np.diag(scale)) @ np.asarray(shape)).max() >= _PARALLEL:
        raise InputError("Logits can be interpolated between parallel grids only: give the grid they were made from.")
    rivals = logits[1:] - logits[0]  # interpolation is linear, so it may follow the subtraction
    out = np.zeros(shape, np.uint8)
    box = _foreground_box(rivals)
    if box is None:
        return out
    axes = [
        _axis(np.arange(m) * s + o, n, near)
        for m, s, o, n, near in zip(shape, scale, offset, rivals.shape[1:], box, strict=True)
    ]
    inside = tuple(part for part, _ in axes)
    _fill(out[inside], rivals[(slice(None), *box)], [weights for _, weights in axes])
    return out


def _foreground_box(rivals: NDArray[np.float32]) -> tuple[slice, ...] | None:
    """The box of voxels where some class leads over class 0, and one voxel around; None where none does."""
    lead: NDArray[np.bool_] = np.asarray((rivals > 0).any(0))
    filled = [np.flatnonzero(lead.any(axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not len(filled[0]):
        return None
    return tuple(slice(max(int(f[0]) - 1, 0), min(int(f[-1]) + 2, n)) for f, n in zip(filled, lead.shape, strict=True))


def _axis(place: NDArray[np.float64], n: int, near: slice) -> tuple[slice, sparse.csr_array]:
    """Targets of an axis that lie in ``near``, as a slice, and their two weights each on the voxels of ``near``.

    Args:
        place: (m,) of the targets in voxels of an axis of ``n`` voxels.
        n: voxels of the axis.
        near: the voxels that matter.
    """
    kept = (place >= -_FACE) & (place <= n - 1 + _FACE)
    place = place.clip(0, n - 1)  # the outermost voxel goes on to its outer face
    (found,) = np.nonzero(kept & (place >= near.start) & (place <= near.stop - 1))
    if not len(found):
        return slice(0), sparse.csr_array((0, near.stop - near.start), dtype=np.float32)
    place = place[found] - near.start
    width = near.stop - near.start
    low = np.floor(place).clip(0, max(width - 2, 0)).astype(np.intp)
    share = (place - low).astype(np.float32)
    rows = np.arange(len(found))
    taps = (
        np.concatenate((1 - share, share)),
        (np.tile(rows, 2), np.concatenate((low, np.minimum(low + 1, width - 1)))),
    )
    return slice(int(found[0]), int(found[-1]) + 1), sparse.coo_array(taps, shape=(len(found), width)).tocsr()


def _fill(target: NDArray[np.uint8], rivals: NDArray[np.float32], weights: list[sparse.csr_array]) -> None:
    """Labels of the target box, slice by slice."""
    depth, height, width = weights
    count, deep, high, wide = rivals.shape
    planes = np.ascontiguousarray(rivals.transpose(1, 3, 0, 2)).reshape(deep, -1)  # (d, w x C x h)

    def work(part: slice) -> None:
        for label, plane in zip(target[part], depth[part] @ planes, strict=True):
            rows = (width @ plane.reshape(wide, -1)).reshape(-1, count, high)
            leads = (height @ rows.transpose(2, 1, 0).reshape(high, -1)).reshape(height.shape[0], count, -1)
            np.greater(leads[:, 0], 0, out=label.view(np.bool_))
            top = np.maximum(leads[:, 0], 0)
            for number in range(1, count):
                label[leads[:, number] > top] = number + 1
                np.maximum(top, leads[:, number], out=top)

    over_blocks(work, len(target), _BLOCK)
