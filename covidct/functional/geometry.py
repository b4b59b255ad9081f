"""Resampling: a scan to an isotropic cube in one anti-aliased step, and masks between any two grids."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy import ndimage, sparse

from covidct.errors import InputError, UsageError
from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.volume import Volume

__all__ = ("isotropic_cube", "resample_mask")

_BLOCK = 4  # slices converted at a time: fewer calls, and what they need still fits the caches
_EQUAL = 1e-6  # ratios and weights that differ by less are the same: what is left of rounding
_PARALLEL = 0.02  # voxels: axes that drift apart by less over the whole grid are taken as parallel


def isotropic_cube(volume: Volume, size: int = 128, pad_hu: float = -1024.0) -> Volume:
    """Resample a scan to a cube of ``size`` isotropic voxels a side that holds all of it, in one anti-aliased step.

    The voxel spacing is the largest extent (voxels x spacing) divided by ``size``; the shorter axes are padded around
    the centre, since a plain resize of a scan that is no cube would not be isotropic. A target voxel is the average of
    the linearly interpolated scan over a box whose width makes the total blur that of the target voxel
    (``sqrt(r^2 - 1)`` source voxels for a ratio ``r`` of spacings): constants and linear ramps are kept exactly, equal
    spacing is the identity, and for r < 1 it is linear interpolation. Within slices, blocks of 2 x 2 voxels are
    averaged first, as often as r allows, which is faster and leaves the total blur as it is: of 512 x 512 slices that
    fill a cube of 128 each target voxel is the mean of its own 4 x 4 voxels. Where a target voxel lies partly outside
    the scan, ``pad_hu`` takes that share.

    Args:
        volume: a scan in HU of known spacing, int16 or float32; oblique scans keep their axes.
        size: voxels along each axis; 128 is the document's.
        pad_hu: value outside the scan, in HU; air by default.

    Returns:
        A volume of shape (size, size, size), float32 (not rounded), with the affine of its voxel centres; modality,
        findings and source are those of ``volume``.

    Raises:
        InputError: when the volume is not in HU or its spacing is unknown.
        UsageError: when ``size`` is not positive.
    """
    if size < 1:
        raise UsageError(f"size={size} is no cube: give a positive number of voxels.")
    volume.require_hu("Resampling to a cube")
    volume.require_spacing("Resampling to a cube")
    step = max(n * s for n, s in zip(volume.shape, volume.spacing, strict=True)) / size
    depth, height, width = zip(volume.shape, [step / s for s in volume.spacing], strict=True)
    halvings = 0
    while all(n % 2 == 0 and ratio >= 2 - _EQUAL for n, ratio in (height, width)):
        height, width = ((n // 2, ratio / 2) for n, ratio in (height, width))
        halvings += 1
    axes = [_axis_weights(n, size, ratio) for n, ratio in (depth, height, width)]
    array = _reduce(volume.array, axes, np.float32(pad_hu), halvings)
    affine = _scaled_affine(volume, size, step)
    return replace(volume, array=array, affine=affine)


def resample_mask(mask: NDArray[Any], source: Volume, target: Volume) -> NDArray[np.uint8]:
    """Bring a mask from one grid to another by nearest neighbour; 0 outside the source.

    Args:
        mask: (D, H, W) label map on the grid of ``source``.
        source: the volume whose grid ``mask`` has (its cube, for the way back).
        target: the volume whose grid is wanted.

    Returns:
        (D, H, W) uint8 of the target's shape.

    Raises:
        InputError: when ``mask`` has not the shape of ``source``, or a spacing is unknown.
    """
    if mask.shape != source.shape:
        raise InputError(f"The mask has shape {mask.shape} but its volume {source.shape}: give the mask's own volume.")
    source.require_spacing("Resampling a mask")
    target.require_spacing("Resampling a mask")
    mask = mask.astype(np.uint8, copy=False)
    index = np.linalg.inv(source.affine) @ target.affine  # target voxel (w, h, d) -> source voxel (w, h, d)
    matrix, offset = index[2::-1, 2::-1], index[2::-1, 3]  # now in array order (d, h, w)
    drift = np.abs(matrix - np.diag(np.diag(matrix))) @ np.asarray(target.shape)
    if drift.max() < _PARALLEL:
        return _gather(mask, np.diag(matrix), offset, target.shape)
    moved: NDArray[np.uint8] = ndimage.affine_transform(
        mask, matrix, offset, output_shape=target.shape, order=0, mode="grid-constant", cval=0
    )
    return moved


def _axis_weights(n: int, size: int, ratio: float) -> tuple[sparse.csr_array, NDArray[np.float32]]:
    """Weights (size, n) of one axis, rows summing to 1, and the share of each target voxel that lies in the scan."""
    centre = (np.arange(size) + 0.5 - size / 2) * ratio + (n - 1) / 2  # target centres in source voxels
    box = np.sqrt(max(ratio**2 - 1.0, 0.0))
    reach = int(np.ceil(box / 2 + 1.0))
    taps = np.floor(centre).astype(int)[:, None] + np.arange(-reach, reach + 2)
    weights = _box_of_triangle(taps - centre[:, None], box)
    weights[weights < _EQUAL] = 0.0
    weights /= weights.sum(1, keepdims=True)
    rows = np.broadcast_to(np.arange(size)[:, None], taps.shape)
    columns = np.clip(taps, 0, n - 1)  # the edge voxel goes on to its outer edge
    matrix = sparse.coo_array((weights.ravel(), (rows.ravel(), columns.ravel())), shape=(size, n)).tocsr()
    matrix.eliminate_zeros()
    low = np.maximum(centre - ratio / 2, -0.5)
    high = np.minimum(centre + ratio / 2, n - 0.5)
    cover = np.clip((high - low) / ratio, 0.0, 1.0).astype(np.float32)
    cover[cover > 1.0 - 1e-5] = 1.0
    return matrix.astype(np.float32), cover  # float32 sums the few taps of a row to 1e-4 HU


def _box_of_triangle(x: NDArray[np.float64], box: float) -> NDArray[np.float64]:
    """The unit triangle averaged over a box around x; the triangle itself for box 0. Closed form."""
    if box < 1e-3:  # below, the difference of the two integrals cancels
        return np.clip(1.0 - np.abs(x), 0.0, None)

    def integral(t: NDArray[np.float64]) -> NDArray[np.float64]:
        t = np.clip(t, -1.0, 1.0)
        return np.where(t < 0, (1 + t) ** 2 / 2, 1 - (1 - t) ** 2 / 2)

    return (integral(x + box / 2) - integral(x - box / 2)) / box


def _reduce(
    array: NDArray[Any], axes: list[tuple[sparse.csr_array, NDArray[np.float32]]], pad: np.float32, halvings: int
) -> NDArray[np.float32]:
    """Apply the weights of the three axes a few slices at a time; the volume is never float32 as a whole."""
    (depth, depth_cover), (height, height_cover), (width, width_cover) = axes
    size = height.shape[0]
    used = np.unique(depth.indices)  # slices without weight are not touched
    plane = np.zeros((array.shape[0], size, size), np.float32)
    as_it_is = _is_identity(height) and _is_identity(width)
    widths = [sparse.csr_array(sparse.kron(sparse.eye_array(k + 1, dtype=np.float32), width)) for k in range(_BLOCK)]

    def shrink(part: slice) -> None:
        block = used[part]
        scratch = np.empty(array.shape[1:], np.float32)
        rows = np.empty((height.shape[1], len(block), width.shape[1]), np.float32)
        for k, index in enumerate(block):
            scratch[:] = array[index]
            small: NDArray[Any] = scratch
            for _ in range(halvings):
                small = cv2.resize(small, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            if as_it_is:
                plane[index] = small
            else:
                rows[:, k] = small
        if not as_it_is:  # sparse products work on rows
            columns = cv2.transpose(height @ rows.reshape(len(rows), -1))
            for index, one in zip(block, (widths[len(block) - 1] @ columns).reshape(-1, size, size), strict=True):
                cv2.transpose(one, plane[index])

    over_blocks(shrink, len(used), _BLOCK)
    cube = np.empty((size, size, size), np.float32)
    cover = np.outer(height_cover, width_cover)
    whole = cover.min() == 1

    def finish(part: slice) -> None:
        cube[part] = (depth[part] @ plane.reshape(len(plane), -1)).reshape(-1, size, size)
        for one, deep in zip(cube[part], depth_cover[part], strict=True):
            if deep < 1 or not whole:
                share = cover * deep
                one *= share
                one += pad * (1 - share)

    over_blocks(finish, size, 32)
    return cube


def _is_identity(matrix: sparse.csr_array) -> bool:
    """Whether an axis stays as it is."""
    n, m = matrix.shape
    return n == m == matrix.nnz and bool((matrix.indices == np.arange(n)).all())


def _scaled_affine(volume: Volume, size: int, step: float) -> NDArray[np.float64]:
    """The affine of the cube: same centre, same directions, spacing ``step``."""
    count = np.asarray(volume.shape[::-1], float)
    spacing = np.asarray(volume.spacing[::-1])
    centre = volume.affine @ np.append((count - 1) / 2, 1.0)
    affine = np.eye(4)
    affine[:3, :3] = volume.affine[:3, :3] / spacing * step
    affine[:3, 3] = centre[:3] - affine[:3, :3] @ np.full(3, (size - 1) / 2)
    return affine


def _gather(
    mask: NDArray[np.uint8], scale: NDArray[np.float64], offset: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Nearest neighbour along parallel axes: one take per axis, the one that shrinks most first."""
    inside: list[slice] = [slice(0)] * 3
    takes: list[NDArray[np.intp]] = [np.empty(0, np.intp)] * 3
    for axis in range(3):
        index = np.floor(np.arange(shape[axis]) * scale[axis] + offset[axis] + 0.5 + 1e-6).astype(np.intp)
        (valid,) = np.nonzero((index >= 0) & (index < mask.shape[axis]))
        if not len(valid):
            return np.zeros(shape, np.uint8)
        inside[axis] = slice(valid[0], valid[-1] + 1)
        takes[axis] = index[inside[axis]]
    for axis in sorted(range(3), key=lambda a: len(takes[a]) / mask.shape[a]):
        mask = mask.take(takes[axis], axis=axis)
    if mask.shape == shape:
        return mask
    out = np.zeros(shape, np.uint8)
    out[tuple(inside)] = mask
    return out
