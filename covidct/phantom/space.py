"""The anatomy seen from a voxel grid: which share of each voxel lies inside which surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from covidct.phantom.outline import AXIS_Y, LINE, REACH, STEP, angle_index, index_of

if TYPE_CHECKING:
    from covidct.phantom.anatomy import Thorax
    from covidct.phantom.grid import Floats, Grid


def soft_step(value: Floats, width: Floats | np.float32 | float) -> Floats:
    """Share of a voxel that lies on the positive side of a surface.

    Args:
        value: signed height function of the surface at the voxel centre.
        width: change of that function across the voxel (the L1 norm of its slope times the voxel size).

    Returns:
        Values in [0, 1], same shape, float32.
    """
    out = value / width
    out += 0.5
    np.clip(out, 0, 1, out=out)
    return out


def at_heights(table: Floats, z: Floats) -> Floats:
    """Rows of a table over z, read linearly at heights ``z`` in mm: (n, columns)."""
    place = np.clip((z + np.float32(REACH)) / np.float32(STEP), 0, len(LINE) - 1.001)
    low = place.astype(np.intp)
    first = table[low]
    return np.asarray(first + (place - low).astype(np.float32)[:, None] * (table[low + 1] - first))


@dataclass(frozen=True)
class Lungs:
    """Lung of one slab.

    Attributes:
        share: (n, H, W) share of each voxel that is lung.

        depth: (n, H, W) distance to the chest wall or diaphragm in mm (not to the mediastinum).
        above: (n, H, W) height above the diaphragm surface, mm.
    """

    share: Floats
    depth: Floats
    above: Floats


class Space:
    """Coordinates and table columns of one grid, worked out once for all slabs."""

    def __init__(self, thorax: Thorax, grid: Grid) -> None:
        """Turn and shift the grid into the body frame."""
        patient = thorax.patient
        self.thorax, self.grid = thorax, grid
        z, y, x = grid.axes
        c, s = np.float32(np.cos(patient.turn)), np.float32(np.sin(patient.turn))
        dx, dy = x - np.float32(patient.shift[0]), y[:, None] - np.float32(patient.shift[1])
        self.x: Floats = c * dx + s * dy
        self.y: Floats = c * dy - s * dx
        self.z: Floats = z - np.float32(patient.shift[2])
        self.rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=float)
        self.shift = np.array(patient.shift)
        self.radius: Floats = np.hypot(self.x, self.y - np.float32(AXIS_Y))
        self.left = self.x > 0
        self._angle = angle_index(self.x, self.y)
        self._row, self._column = index_of(self.y), index_of(self.x)
        place = np.clip((self.y + np.float32(REACH)) / np.float32(STEP), 0, len(LINE) - 1.001)
        self._part: Floats = place - np.floor(place)
        self._low = place.astype(np.intp) + len(LINE) * self.left
        self._plane = float(np.mean(grid.spacing[1:]))
        self.edge = np.float32(0.6 * self._plane + 0.4 * grid.spacing[0])
        self._ray: Floats = (
            (np.abs(self.x) + np.abs(self.y - AXIS_Y)) / np.maximum(self.radius, 1) * self._plane
        ).astype(np.float32)
        self._middle_width = [
            (self._plane * (1 + np.minimum(np.abs(dy), 2)) + grid.spacing[0] * np.minimum(np.abs(dz), 2)).astype(
                np.float32
            )
            for dz, dy in (np.gradient(table, STEP) for table in thorax.outline.middle)
        ]
        self._heights = {name: self._height(name) for name in ("floor", "roof")}

    def _height(self, name: str) -> tuple[Floats, Floats]:
        """Height of a surface over the plane and its edge width."""
        table = getattr(self.thorax.outline, name)
        slope = sum(np.abs(g) for g in np.gradient(table, STEP))
        width = self.grid.spacing[0] + self._plane * np.minimum(slope, 3)[self._row, self._column]
        places = [(axis + REACH) / STEP for axis in (self.y, self.x)]
        height = ndimage.map_coordinates(table, places, order=1, mode="nearest")
        return height, width.astype(np.float32)

    def inside(self, table: Floats, slab: slice) -> tuple[Floats, Floats]:
        """Distance to a radius table (positive inside), and the share of each voxel inside it; (n, H, W)."""
        slope = np.abs(np.gradient(table, STEP, axis=0)).mean(axis=1)[index_of(self.z[slab])]
        distance = np.take(at_heights(table, self.z[slab]), self._angle, axis=1) - self.radius
        width = self._ray + (np.minimum(slope, 1.5) * self.grid.spacing[0]).astype(np.float32)[:, None, None]
        return distance, soft_step(distance, width)

    def by_angle(self, rows: Floats) -> Floats:
        """Values given over the angle for the slices of a slab, (n, ANGLES), at the voxels (n, H, W)."""
        return np.take(rows, self._angle, axis=1)

    def inside_rows(self, rows: Floats, slab: slice) -> Floats:
        """Share of each voxel inside a radius given for the slices of the slab, (n, ANGLES); (n, H, W)."""
        return soft_step(np.take(rows, self._angle, axis=1) - self.radius, self._ray)

    def above(self, name: str, slab: slice) -> tuple[Floats, Floats]:
        """Height over ``floor`` or ``roof`` in mm, and the share of each voxel above it; (n, H, W)."""
        height, width = self._heights[name]
        over = self.z[slab][:, None, None] - height
        return over, soft_step(over, width)

    def beside(self, slab: slice) -> Floats:
        """Share of each voxel that lies outside the mediastinum; (n, H, W)."""
        right, left = (at_heights(table, self.z[slab]) for table in self.thorax.outline.middle)
        both = np.concatenate([right, left], axis=1)  # one look-up serves both sides
        low = np.take(both, self._low, axis=1)
        half = low + self._part * (np.take(both, self._low + 1, axis=1) - low)
        slopes = [at_heights(table, self.z[slab]) for table in self._middle_width]
        width = np.take(np.concatenate(slopes, axis=1), self._low, axis=1)
        return soft_step(np.abs(self.x) - half, width)

    def lungs(self, slab: slice, cavity: tuple[Floats, Floats], floor: tuple[Floats, Floats]) -> Lungs:
        """The lungs of one slab from the shares that the caller already has."""
        share = np.minimum(cavity[1], floor[1])
        np.minimum(share, 1 - self.above("roof", slab)[1], out=share)
        np.minimum(share, self.beside(slab), out=share)
        depth = np.minimum(cavity[0], 0.7 * floor[0])
        return Lungs(share=share, depth=depth, above=floor[0])
