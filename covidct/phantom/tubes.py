"""Tubes (vessels, airways, bones) as points that carry volume, so that thin ones keep their exact partial volume.

A tube thinner than a voxel must not vanish or fatten: its lumen is sampled by points, each carries the volume it stands
for, and each point is spread trilinearly over its eight neighbours. The sum is the share of each voxel that is filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from covidct.phantom.grid import Floats, Grid

_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
_OVERFILL = 1.25  # thick tubes: lifts the unevenness of the point pattern over 1, where it is cut


@dataclass(frozen=True)
class Tubes:
    """Straight segments with a radius at each end.

    Attributes:
        start: (N, 3) float64, mm in the order (x, y, z).
        end: (N, 3) float64.
        radius: (N, 2) float64, mm at start and end.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    radius: NDArray[np.float64]

    @classmethod
    def line(cls, points: NDArray[np.float64], radius: float | NDArray[np.float64]) -> Tubes:
        """A polyline (M, 3) with one radius, or one a point."""
        radii = np.broadcast_to(np.asarray(radius, dtype=float), len(points))
        return cls(points[:-1], points[1:], np.stack([radii[:-1], radii[1:]], axis=1))

    @classmethod
    def join(cls, parts: Iterable[Tubes]) -> Tubes:
        """All segments of several tubes."""
        found = list(parts)
        return cls(
            np.concatenate([t.start for t in found]),
            np.concatenate([t.end for t in found]),
            np.concatenate([t.radius for t in found]),
        )

    def shrunk(self, wall: float) -> Tubes:
        """The inside of tubes whose wall is ``wall`` mm thick; segments without an inside are dropped."""
        inside = self.radius - wall
        keep = (inside > 0.2).all(axis=1)
        return Tubes(self.start[keep], self.end[keep], inside[keep])

    def moved(self, rotation: NDArray[np.float64], shift: NDArray[np.float64]) -> Tubes:
        """Rotate (3, 3), then shift (3,)."""
        return Tubes(self.start @ rotation.T + shift, self.end @ rotation.T + shift, self.radius)


class TubePaint:
    """Tubes prepared for one grid; gives the filled share of the voxels, slab by slab."""

    def __init__(self, tubes: Tubes, grid: Grid) -> None:
        """Sample the tubes finely enough for the grid."""
        step = 0.7 * float(np.prod(grid.spacing)) ** (1 / 3)  # about three points a voxel
        origin = np.array([axis[0] for axis in grid.axes[::-1]])
        found = []
        for part in _portions(_near(tubes, grid), step):
            points, volume = _sample(part, step)
            places = (points - origin) / np.array(grid.spacing[::-1])
            inside = ((places > -1) & (places < np.array(grid.shape[::-1]))).all(axis=1)
            share = volume / np.prod(grid.spacing)
            found.append(np.column_stack([places, share])[inside].astype(np.float32))
        table = np.concatenate([np.empty((0, 4), dtype=np.float32), *found])
        table = table[np.argsort(table[:, 2], kind="stable")]
        self._places, self._share = table[:, :3], table[:, 3]
        self._depth = np.ascontiguousarray(table[:, 2])
        self._plane = grid.shape[1:]

    def share(self, slab: slice) -> Floats | None:
        """Filled share (n, H, W) float32 in [0, 1] of the slices of ``slab``, None where nothing is."""
        first, last = np.searchsorted(self._depth, [slab.start - 1, slab.stop])
        if first == last:
            return None
        place, share = (
            self._places[first:last] - np.array([0, 0, slab.start], dtype=np.float32),
            self._share[first:last],
        )
        low = np.floor(place)
        part = place - low
        cell = low.astype(np.int64) + 1
        padded = (slab.stop - slab.start + 2, self._plane[0] + 2, self._plane[1] + 2)
        keys, weights = [], []
        for corner in range(8):
            step = (corner & 1, corner >> 1 & 1, corner >> 2)
            i, j, k = (cell[:, a] + step[a] for a in range(3))
            keys.append((k * padded[1] + j) * padded[2] + i)
            x, y, z = (part[:, a] if step[a] else 1 - part[:, a] for a in range(3))
            weights.append(x * y * z * share)
        filled = np.bincount(np.concatenate(keys), np.concatenate(weights), minlength=int(np.prod(padded)))
        return np.minimum(filled.reshape(padded)[1:-1, 1:-1, 1:-1], 1).astype(np.float32)


def _near(tubes: Tubes, grid: Grid) -> Tubes:
    """Only those tubes that come near the grid: a crop costs what it shows."""
    low, high = np.minimum(tubes.start, tubes.end), np.maximum(tubes.start, tubes.end)
    margin = tubes.radius.max(axis=1, keepdims=True) + 2 * max(grid.spacing)
    reach = np.array([axis[-1] for axis in grid.axes[::-1]])
    keep = ((low - margin < reach) & (high + margin > -reach)).all(axis=1)
    return Tubes(tubes.start[keep], tubes.end[keep], tubes.radius[keep])


def _portions(tubes: Tubes, step: float) -> Iterator[Tubes]:
    """The tubes in portions of about a million points, to bound the memory."""
    length = np.linalg.norm(tubes.end - tubes.start, axis=1)
    load = np.cumsum((length / step + 1) * (np.pi * (tubes.radius.max(axis=1) / step) ** 2 + 1)) // 1_000_000
    for part in np.split(np.arange(len(load)), np.flatnonzero(np.diff(load)) + 1):
        yield Tubes(tubes.start[part], tubes.end[part], tubes.radius[part])


def _sample(tubes: Tubes, step: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (M, 3) inside the tubes about ``step`` mm apart, and the volume in mm3 that each stands for."""
    along = tubes.end - tubes.start
    length = np.maximum(np.linalg.norm(along, axis=1), 1e-6)
    widest = tubes.radius.max(axis=1)
    rings = np.maximum(np.ceil(length / step), 1).astype(np.int64)
    spots = np.maximum(np.ceil(np.pi * (widest / step) ** 2), 1).astype(np.int64)
    count = rings * spots
    tube = np.repeat(np.arange(len(count)), count)
    rank = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    ring, spot = np.divmod(rank, spots[tube])
    t = (ring + 0.5) / rings[tube]
    radius = tubes.radius[tube, 0] * (1 - t) + tubes.radius[tube, 1] * t
    # sunflower pattern in the cross-section, turned from ring to ring
    away = np.where(spots[tube] > 1, radius * np.sqrt((spot + 0.5) / spots[tube]), 0.0)
    angle = spot * _GOLDEN_ANGLE + ring
    helper = np.where(np.abs(along[:, 2:3]) < 0.9 * length[:, None], [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    u = np.cross(along, helper)
    u /= np.linalg.norm(u, axis=1, keepdims=True) + 1e-12
    v = np.cross(along / length[:, None], u)
    points = tubes.start[tube] + along[tube] * t[:, None]
    points += u[tube] * (away * np.cos(angle))[:, None] + v[tube] * (away * np.sin(angle))[:, None]
    volume = np.pi * radius**2 * (length / count)[tube]
    return points, np.where(spots[tube] > 6, _OVERFILL, 1.0) * volume
