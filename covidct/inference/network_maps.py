"""``NetworkMaps``: what a network draws over the slices that it saw, and the same over the slices of the scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidct.result import CoarseMaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.volume import Volume

__all__ = ("NetworkMaps", "maps_of_slices", "maps_on_scan", "places_on_scan")

_CELLS = 32  # per side of a kept map: finer ones are thinned, since a page holds one per slice


@dataclass(frozen=True, slots=True)
class NetworkMaps:
    """The maps of one scan on the slices that a network of volumes saw.

    Attributes:
        affine: (4, 4) float64 of these slices, voxel (w, h, d) to LPS mm; NaN where unknown.
        shape: (D, H, W) voxels that the network saw.
        cam: (D, h, w) float32 Grad-CAM in units of its fixed scale; None without.
        cam_class: the class that it explains.
        weights: (D, h, w) float32 pooling weights; None without.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    cam: NDArray[np.float32] | None = None
    cam_class: str = ""
    weights: NDArray[np.float32] | None = None


def maps_on_scan(maps: NDArray[np.floating], seen: NetworkMaps, volume: Volume) -> CoarseMaps:
    """Bring maps from the slices that the network saw to those of the scan, linearly along the body; cells stay cells.

    Args:
        maps: (D, h, w) in units of the full scale.
        seen: where they lie.
        volume: the scan, whose axes are parallel to those of the network's grid, as prepared scans have them.
    """
    step, start = _steps(seen, volume)
    depth = len(maps)
    at = start[0] + step[0] * np.arange(volume.shape[0])
    known = (at >= -0.5) & (at <= depth - 0.5)
    at = at.clip(0, depth - 1)
    below = np.floor(at).astype(np.int64)
    above = np.minimum(below + 1, depth - 1)
    part = (at - below)[:, None, None]
    found = maps[below] * (1 - part) + maps[above] * part
    edges = [
        (np.array([-0.5, side - 0.5]) - start[axis]) / step[axis] + 0.5
        for axis, side in ((1, seen.shape[1]), (2, seen.shape[2]))
    ]
    (top, bottom), (left, right) = edges[0] / volume.shape[1], edges[1] / volume.shape[2]
    return CoarseMaps(_cells(found), known, (float(left), float(top), float(right), float(bottom)))


def maps_of_slices(maps: NDArray[np.floating], indices: Sequence[int], depth: int) -> CoarseMaps:
    """Maps (n, h, w) of some whole slices of a scan of ``depth`` slices; the others have none."""
    cells = _cells(maps)
    values = np.zeros((depth, *cells.shape[1:]), np.uint8)
    known = np.zeros(depth, np.bool_)
    values[list(indices)], known[list(indices)] = cells, True
    return CoarseMaps(values, known)


def places_on_scan(seen: NetworkMaps, volume: Volume) -> tuple[int, ...]:
    """The slice of the scan nearest to each slice that the network saw."""
    step, start = _steps(seen, volume)
    at = np.rint((np.arange(seen.shape[0]) - start[0]) / step[0]).astype(np.int64)
    return tuple(at.clip(0, volume.shape[0] - 1).tolist())


def _steps(seen: NetworkMaps, volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Voxel of the network per voxel of the scan, and the network's voxel at the scan's first, along (d, h, w).

    Where the geometry is unknown the network saw every slice of the scan, each of them whole.
    """
    if np.isfinite(seen.affine).all() and np.isfinite(volume.affine).all():
        matrix = np.linalg.inv(seen.affine) @ volume.affine
        return np.diag(matrix)[2::-1].copy(), matrix[2::-1, 3].copy()
    step = np.array(seen.shape, np.float64) / np.array(volume.shape)
    return step, step / 2 - 0.5


def _cells(maps: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Maps as bytes, at most 32 cells a side."""
    scaled: NDArray[np.uint8] = np.rint(255 * np.nan_to_num(maps, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)).astype(
        np.uint8
    )
    height, width = (min(_CELLS, side) for side in scaled.shape[1:])
    if (height, width) == scaled.shape[1:]:
        return scaled
    return np.stack(
        [np.asarray(cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA), np.uint8) for one in scaled]
    )
