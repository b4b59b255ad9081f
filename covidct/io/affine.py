"""Grids whose axes are not quite, or not at all, at right angles; and where the corners of a grid lie.

An affine maps a voxel index (i, j, k), i being the fastest axis on disk, to LPS millimetres; arrays are [k, j, i].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import GeometryError
from covidct.io.faults import OnFault, Policy, settle
from covidct.io.geometry import canonical_axes, to_canonical
from covidct.volume import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = (
    "Grid",
    "check_affine",
    "corners",
    "listed_faults",
    "orthonormalised",
    "rectified",
    "settle_grid",
    "shear",
    "spacing_of",
)

NOISE = 1e-5
"""Shear (cosine) that float32 headers leave behind: not worth a word."""

SMALL_SHEAR = 1e-3
"""Shear up to which the nearest right-angled axes are taken instead: half a voxel over 500 voxels from the centre."""

_SPACING_MM = (0.01, 100.0)  # beyond, the unit of the header is wrong: clinical CT has 0.1 to 10 mm


def spacing_of(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of neighbouring voxels along (i, j, k) in mm."""
    lengths: NDArray[np.float64] = np.linalg.norm(affine[:3, :3], axis=0)
    return lengths


def shear(affine: NDArray[np.float64]) -> float:
    """How far the axes are from right angles: the largest |cosine| between two of them, 0 when they are."""
    directions = affine[:3, :3] / spacing_of(affine)
    return float(np.abs(np.triu(directions.T @ directions, 1)).max())


def corners(affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """The eight outer corners of a grid in LPS mm, half a voxel beyond the outermost voxel centres.

    Args:
        affine: (4, 4) voxel (i, j, k) to LPS mm.
        shape: voxels along (k, j, i).

    Returns:
        (8, 3) float64.
    """
    ends = [(-0.5, n - 0.5) for n in shape[::-1]]
    voxels = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    points: NDArray[np.float64] = voxels @ affine[:3, :3].T + affine[:3, 3]
    return points


def orthonormalised(affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """Replace the directions of the axes by the nearest ones at right angles; spacing and the grid's centre stay.

    Args:
        affine: (4, 4) voxel (i, j, k) to LPS mm, nearly orthogonal.
        shape: voxels along (k, j, i).
    """
    spacing = spacing_of(affine)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)  # polar decomposition: the nearest orthogonal matrix
    result = np.eye(4)
    result[:3, :3] = (left @ right) * spacing
    middle = (np.asarray(shape[::-1], dtype=np.float64) - 1) / 2
    result[:3, 3] = affine[:3, 3] + (affine[:3, :3] - result[:3, :3]) @ middle
    return result


def rectified(
    array: NDArray[Any], affine: NDArray[np.float64], *, fill: float
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Resample a sheared volume (gantry tilt) onto the smallest right-angled grid that holds its voxel centres.

    The new axes are those of Gram and Schmidt in the order i, j, k: slices keep their plane and pixel size, and follow
    one another along their normal.

    Args:
        array: (k, j, i) voxels.
        affine: (4, 4) float64, voxel (i, j, k) to LPS mm.
        fill: value outside the old grid.

    Returns:
        The resampled array (linear interpolation, same dtype) and its affine.

    Raises:
        GeometryError: when the new grid would be more than four times as large as the old one.
    """
    from scipy import ndimage  # only where it is needed

    directions, upper = np.linalg.qr(affine[:3, :3])
    new = np.eye(4)
    new[:3, :3] = directions * np.diag(upper)  # diag carries sign and length, so the new axes point like the old ones
    last = np.asarray(array.shape[::-1], dtype=np.float64) - 1
    centres = np.stack(np.meshgrid(*[(0.0, n) for n in last], indexing="ij"), axis=-1).reshape(-1, 3)
    seen = centres @ (np.linalg.inv(new[:3, :3]) @ affine[:3, :3]).T
    low, high = np.floor(seen.min(axis=0) + 1e-3), np.ceil(seen.max(axis=0) - 1e-3)
    if not np.prod(high - low + 1) <= 4.0 * array.size:  # so written that NaN is refused too
        raise GeometryError("The slices are shifted by more than three times their size: the header is damaged.")
    size = (high - low).astype(int) + 1
    new[:3, 3] = affine[:3, 3] + new[:3, :3] @ low
    back = np.linalg.inv(affine) @ new  # new voxel (i, j, k) to old voxel
    values = np.empty(tuple(size[::-1]), dtype=array.dtype)
    ndimage.affine_transform(
        array, back[2::-1, 2::-1], offset=back[2::-1, 3], output=values, order=1, mode="constant", cval=fill
    )
    return values, new


@dataclass(frozen=True, slots=True)
class Grid:
    """An array on its settled grid.

    Attributes:
        array: (D, H, W) on the canonical grid.
        affine: (4, 4), voxel (w, h, d) to LPS mm.
        findings: what was odd about the geometry.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    findings: tuple[Finding, ...]


def check_affine(affine: NDArray[np.float64], *, on_fault: Policy) -> tuple[Finding, ...]:
    """Find what is wrong with the geometry that a header states.

    Args:
        affine: (4, 4) voxel (i, j, k) to LPS mm.
        on_fault: what to do about it.

    Returns:
        Findings ``"implausible_spacing"``, ``"not_orthonormal"`` (recorded, up to 1e-3) and ``"sheared"``.

    Raises:
        GeometryError: for an affine that is singular or not finite; under ``"error"`` for shear, under ``"error"`` and
            ``"repair"`` for implausible spacing.
    """
    canonical_axes(affine)
    findings = []
    spacing = spacing_of(affine)
    if spacing.min() < _SPACING_MM[0] or spacing.max() > _SPACING_MM[1]:
        message = f"the voxel spacing {' x '.join(f'{s:g}' for s in spacing)} mm is not that of a body scan"
        finding = settle(
            "implausible_spacing",
            message,
            "left as it is",
            on_fault=on_fault,
            hint="correct the spacing or its unit in the header",
            mendable=False,
            error=GeometryError,
        )
        findings.append(finding)
    lean = shear(affine)
    if lean > SMALL_SHEAR:
        message = f"the voxel axes are not at right angles ({np.degrees(np.arcsin(min(lean, 1.0))):.2f} degrees off)"
        done = "resampled to right angles" if on_fault != "warn" else "kept as they are"
        findings.append(settle("sheared", message, done, on_fault=on_fault, error=GeometryError))
    elif lean > NOISE:
        message = f"the voxel axes were {lean:.1e} off right angles; the nearest right-angled axes were taken"
        findings.append(settle("not_orthonormal", message, "no value changed", on_fault="warn"))
    return tuple(findings)


def settle_grid(array: NDArray[Any], affine: NDArray[np.float64], *, on_fault: OnFault) -> Grid:
    """Bring an array from a file onto the canonical grid, mending what ``on_fault`` allows.

    Args:
        array: (k, j, i) int16 or float32.
        affine: (4, 4) voxel (i, j, k) to LPS mm.
        on_fault: ``"error"`` refuses shear beyond 1e-3, ``"repair"`` resamples it, ``"warn"`` keeps it.

    Raises:
        GeometryError: see :func:`check_affine`; and always for fewer than three voxels along an axis.
    """
    findings = check_affine(affine, on_fault=on_fault)
    codes = {finding.code for finding in findings}
    if "sheared" in codes and on_fault == "repair":
        array, affine = rectified(array, affine, fill=float(array.min()))  # air, or black in display values
    elif "not_orthonormal" in codes:
        affine = orthonormalised(affine, array.shape)
    array, affine = _turned(array, affine)
    _check_shape(array.shape, on_fault="error")
    return Grid(array, affine, findings)


def listed_faults(affine: NDArray[np.float64], shape: Sequence[int]) -> tuple[Finding, ...]:
    """What :func:`settle_grid` records or refuses, as far as a header tells.

    Args:
        affine: (4, 4) voxel (i, j, k) to LPS mm.
        shape: voxels along (k, j, i).

    Raises:
        GeometryError: for an affine that is singular or not finite.
    """
    return (*check_affine(affine, on_fault="list"), *_check_shape(shape, on_fault="list"))


def _check_shape(shape: Sequence[int], *, on_fault: Policy) -> tuple[Finding, ...]:
    if min(shape) >= 3:
        return ()
    message = f"the scan has {' x '.join(map(str, shape))} voxels, a volume needs at least 3 along each axis"
    return (settle("too_few_slices", message, "", on_fault=on_fault, hint="give the whole scan", error=GeometryError),)


def _turned(array: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """As ``to_canonical``, but flips a big array in place, slice by slice, so that it is not held twice."""
    axes = canonical_axes(affine)
    if axes.order != (0, 1, 2) or not (array.flags.writeable and array.flags.c_contiguous):
        return to_canonical(array, affine)
    flip_w, flip_h, flip_d = axes.flip
    if flip_w or flip_h:
        inner = (slice(None, None, -1 if flip_h else 1), slice(None, None, -1 if flip_w else 1))
        for plane in array:
            plane[:] = plane[inner].copy()
    if flip_d:
        for low in range(len(array) // 2):
            kept = array[low].copy()
            array[low] = array[-1 - low]
            array[-1 - low] = kept
    return array, axes.affine(affine, array.shape)
