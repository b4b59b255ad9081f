"""Geometry of scans in plain numpy: the canonical LPS grid, stacks of slices, resampling of gaps and tilt.

An affine here maps a voxel index (i, j, k), i being the fastest axis on disk, to LPS millimetres. The array of that
grid has the axes (k, j, i). Nothing in this module knows about files.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import GeometryError
from covidct.io.hu import AIR_HU

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ("Axes", "Stack", "canonical_axes", "stack_slices", "straighten", "to_canonical")


@dataclass(frozen=True, slots=True)
class Axes:
    """How a source grid becomes the canonical one: which axis goes where, and which are reversed.

    Attributes:
        order: for the canonical axes (w, h, d), the source axis (0 = i, 1 = j, 2 = k) that becomes it.
        flip: for the canonical axes (w, h, d), whether the source axis runs the other way.
    """

    order: tuple[int, int, int]
    flip: tuple[bool, bool, bool]

    def canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """View a source array (k, j, i) as the canonical (D, H, W); no copy."""
        view = array.transpose([2 - axis for axis in self.order[::-1]])
        return view[tuple(slice(None, None, -1 if flip else 1) for flip in self.flip[::-1])]

    def source(self, array: NDArray[Any]) -> NDArray[Any]:
        """View a canonical array (D, H, W) as the source (k, j, i); no copy, writing to it writes to ``array``."""
        view = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flip[::-1])]
        inverse = [self.order.index(axis) for axis in range(3)]
        return view.transpose([2 - axis for axis in inverse[::-1]])

    def shape(self, source: Sequence[int]) -> tuple[int, int, int]:
        """Shape (D, H, W) of the canonical array for a source array of shape (k, j, i)."""
        w, h, d = (source[2 - axis] for axis in self.order)
        return d, h, w

    def affine(self, affine: NDArray[np.float64], source: Sequence[int]) -> NDArray[np.float64]:
        """Affine of the canonical grid.

        Args:
            affine: (4, 4) float64 of the source grid, voxel (i, j, k) to LPS mm.
            source: shape (k, j, i) of the source array.

        Returns:
            (4, 4) float64, voxel (w, h, d) to LPS mm.
        """
        result = np.eye(4)
        result[:3, 3] = affine[:3, 3]
        for target, (axis, flip) in enumerate(zip(self.order, self.flip, strict=True)):
            column = affine[:3, axis]
            result[:3, target] = -column if flip else column
            if flip:
                result[:3, 3] += column * (source[2 - axis] - 1)
        return result


def canonical_axes(affine: ArrayLike) -> Axes:
    """Find the axis permutation and flips that bring a grid closest to LPS.

    Oblique grids keep their angles: only whole axes are exchanged and reversed.

    Args:
        affine: (4, 4), voxel (i, j, k) to LPS mm.

    Raises:
        GeometryError: when the affine is not finite or its axes do not span a volume.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or not (lengths > 0).all():
        raise GeometryError("The voxel axes have no length or are not finite numbers: the header is damaged.")
    cosines = matrix[:3, :3] / lengths
    if abs(np.linalg.det(cosines)) < 0.1:
        raise GeometryError("The voxel axes lie (almost) in one plane: the header is damaged.")
    order = max(permutations(range(3)), key=lambda p: sum(abs(cosines[world, axis]) for world, axis in enumerate(p)))
    w, h, d = (bool(cosines[world, axis] < 0) for world, axis in enumerate(order))
    return Axes(order=(order[0], order[1], order[2]), flip=(w, h, d))


def to_canonical(array: NDArray[Any], affine: ArrayLike) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Reorder an array to the canonical LPS grid.

    Args:
        array: (k, j, i), i being the fastest axis on disk.
        affine: (4, 4), voxel (i, j, k) to LPS mm.

    Returns:
        The C-contiguous array (D, H, W), a copy only where the order differs, and its (4, 4) affine (w, h, d) to LPS.

    Raises:
        GeometryError: when the affine is singular or not finite.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    axes = canonical_axes(matrix)
    return np.ascontiguousarray(axes.canonical(array)), axes.affine(matrix, array.shape)


@dataclass(frozen=True, slots=True)
class Stack:
    """Parallel slices in order along their normal.

    Attributes:
        order: (n,) index of each slice in the input, ascending along the normal.
        heights: (n,) ascending place along the normal in mm.
        offsets: (n, 2) in-plane place of each slice's first pixel along (row, column) direction in mm, from the
            first slice's.
        step: median distance of neighbouring slices along the normal in mm.
        multiples: (n - 1,) whole number of steps between neighbours, 0 where it is none (uneven or the same place).
        lean: (2,) mm of in-plane drift per mm of height along (row, column) direction, the tangent of a tilt.
        wander: greatest in-plane distance of a slice from the straight line of the others in mm.
    """

    order: NDArray[np.intp]
    heights: NDArray[np.float64]
    offsets: NDArray[np.float64]
    step: float
    multiples: NDArray[np.intp]
    lean: NDArray[np.float64]
    wander: float

    @property
    def steps(self) -> NDArray[np.float64]:
        """(n - 1,) distances of neighbouring slices along the normal in mm."""
        return np.diff(self.heights)

    @property
    def pitch(self) -> float:
        """Mean step in mm, gaps counted as the slices they stand for; the median step where steps are uneven."""
        count = int(self.multiples.sum())
        if not (self.multiples > 0).all():
            return self.step
        return float(self.heights[-1] - self.heights[0]) / count

    @property
    def drift(self) -> float:
        """In-plane distance in mm between first and last slice that the lean makes."""
        return float(np.hypot(*self.lean) * (self.heights[-1] - self.heights[0]))

    @property
    def tilt(self) -> float:
        """Angle between the slice normal and the line through the slices in degrees."""
        return float(np.degrees(np.arctan(np.hypot(*self.lean))))


def stack_slices(positions: NDArray[np.float64], orientation: NDArray[np.float64]) -> Stack:
    """Sort slices along their normal and measure how they lie.

    Steps are equal when they agree within 1 % or 0.01 mm, whichever is more.

    Args:
        positions: (n, 3) LPS mm of the first pixel's centre, n >= 2.
        orientation: (6,) direction cosines of rows (along which the column index grows) and of columns.
    """
    row, column = orientation[:3], orientation[3:]
    normal = np.cross(row, column)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    heights = heights[order]
    offsets = (positions[order] - positions[order[0]]) @ np.stack([row, column], axis=1)
    steps = np.diff(heights)
    tolerance = max(0.01 * float(np.median(steps)), 0.01)
    distinct = steps[steps > tolerance]
    step = float(np.median(distinct)) if len(distinct) else 0.0
    multiples = np.zeros(len(steps), dtype=np.intp)
    if step > 0:
        tolerance = max(0.01 * step, 0.01)
        nearest = np.rint(steps / step)
        multiples[:] = np.where(np.abs(steps - nearest * step) <= tolerance * np.maximum(nearest, 1), nearest, 0)
    span = heights - heights.mean()
    spread = float(span @ span)
    lean = span @ offsets / spread if spread > 0 else np.zeros(2)
    residual = offsets - offsets.mean(axis=0) - span[:, None] * lean
    wander = float(np.linalg.norm(residual, axis=1).max())
    return Stack(order, heights, offsets, step, multiples, lean, wander)


def straighten(
    array: NDArray[Any], heights: NDArray[np.float64], offsets: NDArray[np.float64], grid: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Resample slices of any height and in-plane place to an upright, evenly spaced stack (linear interpolation).

    The plane is enlarged so that every source slice fits in; what no slice covers is air.

    Args:
        array: (n, rows, columns) HU, int16 or float32, slices in ascending height.
        heights: (n,) mm, strictly ascending.
        offsets: (n, 2) in-plane place of each slice along (columns, rows) in *pixels*.
        grid: (m,) mm, heights of the wanted slices within those of the source.

    Returns:
        The new array (m, rows', columns') of the same dtype, and (2,) the in-plane place of its first pixel along
        (columns, rows) in pixels on the scale of ``offsets``.
    """
    low = np.floor(offsets.min(axis=0) + 1e-3)
    extra = np.ceil(offsets.max(axis=0) - 1e-3) - low
    rows, columns = array.shape[1] + int(extra[1]), array.shape[2] + int(extra[0])
    result = np.empty((len(grid), rows, columns), dtype=array.dtype)
    placed: dict[int, NDArray[np.float32]] = {}
    for index, height in enumerate(grid):
        upper = int(np.clip(np.searchsorted(heights, height - 1e-6), 1, len(heights) - 1))
        weight = (height - heights[upper - 1]) / (heights[upper] - heights[upper - 1])
        weight = 0.0 if weight < 1e-3 else 1.0 if weight > 1 - 1e-3 else weight
        placed = {k: v for k, v in placed.items() if k >= upper - 1}
        for k, needed in ((upper - 1, weight < 1), (upper, weight > 0)):
            if needed and k not in placed:
                placed[k] = _place(array[k], offsets[k] - low, (rows, columns))
        if weight in (0.0, 1.0):
            plane = placed[upper if weight else upper - 1]
        else:
            plane = (1 - weight) * placed[upper - 1] + weight * placed[upper]
        result[index] = np.rint(plane) if array.dtype.kind == "i" else plane
    return result, low


def _place(plane: NDArray[Any], offset: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Put a slice on a larger plane of air, moved by ``offset`` (columns, rows) pixels, by linear interpolation."""
    result = np.full(shape, AIR_HU, dtype=np.float32)
    whole = (
        np.rint(offset).astype(int) if np.abs(offset - np.rint(offset)).max() < 1e-3 else np.floor(offset).astype(int)
    )
    part = np.maximum(offset - whole, 0)
    part[part < 1e-3] = 0
    height, width = plane.shape
    result[whole[1] : whole[1] + height, whole[0] : whole[0] + width] = plane
    for axis, fraction in ((1, part[0]), (0, part[1])):
        if fraction > 0:
            moved = np.full_like(result, AIR_HU)
            into, of = [slice(None)] * 2, [slice(None)] * 2
            into[axis], of[axis] = slice(1, None), slice(None, -1)
            moved[tuple(into)] = result[tuple(of)]
            result = np.float32(1 - fraction) * result + np.float32(fraction) * moved
    return result
