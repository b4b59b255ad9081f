"""``near_surface``: what of the lungs is peripheral."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects

from covidct.functional.morphology import fill_small_holes
from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("HOLE_MM2", "PERIPHERAL_MM", "near_surface")

PERIPHERAL_MM = 20.0
"""A place of a lung at most this far from its surface is peripheral (mm); our choice.

Radiologists call the outer third of the lung peripheral (Bernheim et al., Radiology 2020,
doi:10.1148/radiol.2020200463), by eye and without a definition in mm: 20 mm are about a third of the way from the chest
wall to the hilum. The surface is that of each lung as a whole, towards the mediastinum, the heart and the diaphragm
too, so that most of a lung lies within 20 mm of it: a share means something only beside that of the lungs themselves.
"""

HOLE_MM2 = 300.0
"""Holes of a lung mask up to this size in a slice (mm2) are vessels or lesions that the mask leaves out, not a surface;
larger ones may be a dome of the diaphragm (our choice, that of :func:`covidct.functional.segment_lungs`)."""

_ROUNDING = 1e-4  # mm: a place at exactly ``PERIPHERAL_MM`` is peripheral whatever the spacing


def near_surface(lung_mask: NDArray[np.uint8], steps: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Where a voxel of a lung has one that is not of this lung within ``PERIPHERAL_MM``, from centre to centre.

    Exact, without a distance in 3-D: the distances within a slice say over how many slices up and down each of its
    pixels makes what lies there peripheral, and two passes along the body carry that on. Beyond the edge of the volume
    nothing is known, so that it is no surface.

    Args:
        lung_mask: (D, H, W) uint8, 0 background, 1 right lung, 2 left lung; 1 may stand for both.
        steps: spacing (d, h, w) in mm; that across the slices has no effect on a single slice.

    Returns:
        (D, H, W), False outside the mask.
    """
    near = np.zeros(lung_mask.shape, bool)
    for value, box in enumerate(find_objects(lung_mask, max_label=2), 1):
        if box is None:
            continue
        # one voxel around the lung holds the nearest outside of all of them
        box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
        lung = lung_mask[box] == value
        reach = _reach(lung, steps)
        for order in (range(1, len(reach)), range(len(reach) - 2, -1, -1)):
            for k in order:
                np.maximum(reach[k], reach[k - order.step] - 1, out=reach[k])
        near[box] |= lung & (reach >= 0)
    return near


def _reach(lung: NDArray[np.bool_], steps: tuple[float, float, float]) -> NDArray[np.int16]:
    """Slices up and down that lie within ``PERIPHERAL_MM`` of what is outside in a pixel's own slice; -1 for none."""
    reach = np.empty(lung.shape, np.int16)
    most = HOLE_MM2 / (steps[1] * steps[2])
    square = (PERIPHERAL_MM + _ROUNDING) ** 2

    def work(part: slice) -> None:
        for one, out in zip(lung[part], reach[part], strict=True):
            left = square - _in_plane(fill_small_holes(one.astype(np.uint8), most), steps[1:]) ** 2
            out[:] = np.where(left < 0, -1, np.minimum(np.sqrt(np.maximum(left, 0)) / steps[0], len(lung)))

    over_blocks(work, len(lung), 8)
    return reach


def _in_plane(lung: NDArray[np.uint8], steps: tuple[float, float]) -> NDArray[Any]:
    """Distance of each pixel of a slice to the nearest outside of the lung, mm; infinite without any."""
    if lung.all():
        return np.full(lung.shape, np.inf, np.float32)
    if math.isclose(*steps, rel_tol=1e-4):
        pixels: NDArray[Any] = cv2.distanceTransform(lung, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return pixels * np.float32(steps[0])
    away: NDArray[Any] = distance_transform_edt(lung, sampling=steps)
    return away
