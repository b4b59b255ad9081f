"""Morphology for masks of scans: labels and volumes in 3-D, closing and filling slice by slice.

Slice-wise steps are OpenCV's, labels are ITK's: both are many times faster than the same in scipy or scikit-image, and
the tests compare them with those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = (
    "close_slice",
    "disc",
    "enclosed",
    "erode_cross",
    "fill_small_holes",
    "grow_city_block",
    "label_volume",
    "outside_air",
)

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def label_volume(
    mask: NDArray[np.uint8], *, least: int = 0, diagonal: bool = False
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Connected components in 3-D, the largest first.

    Args:
        mask: (D, H, W) uint8, non-zero is foreground.
        least: components of fewer voxels are left out.
        diagonal: True for 26 neighbours, False for 6.

    Returns:
        Labels (D, H, W) int32, 0 for background and 1.. by falling size; voxels of each label, index 0 unused (0).
    """
    import SimpleITK  # takes a second to load

    relabel: Any = SimpleITK.RelabelComponentImageFilter
    order = relabel()
    order.SetMinimumObjectSize(least)
    find: Any = SimpleITK.ConnectedComponent
    image = order.Execute(find(SimpleITK.GetImageFromArray(mask), diagonal))
    labels: NDArray[np.int32] = SimpleITK.GetArrayFromImage(image).view(np.int32)
    return labels, np.array([0, *order.GetSizeOfObjectsInPixels()], np.int64)


def enclosed(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The holes of a 3-D mask: background that no path of 6-neighbours joins to a face of the volume."""
    labels, sizes = label_volume((mask == 0).view(np.uint8))
    open_ = np.zeros(len(sizes), bool)
    for axis in range(3):
        for side in (0, -1):
            open_[np.unique(labels.take(side, axis))] = True
    open_[0] = True  # the mask itself
    holes: NDArray[np.bool_] = ~open_[labels]
    return holes


def disc(radius_mm: float, spacing: tuple[float, float]) -> NDArray[np.uint8]:
    """Elliptic structuring element of a radius in mm for pixels of ``spacing`` (h, w) mm: (2a+1, 2b+1) uint8."""
    a, b = (int(radius_mm / s + 0.5) for s in spacing)
    y, x = np.mgrid[-a : a + 1, -b : b + 1]
    inside = (y / (a + 0.5)) ** 2 + (x / (b + 0.5)) ** 2 <= 1.0
    return np.asarray(inside, np.uint8)


def outside_air(air: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """What of a slice's air, (H, W) in {0, 1}, is connected to the image border by 4-neighbours."""
    framed = cv2.copyMakeBorder(air, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    outside: NDArray[np.bool_] = framed[1:-1, 1:-1] == 2
    return outside


def close_slice(mask: NDArray[np.uint8], radius: tuple[int, int]) -> NDArray[np.uint8]:
    """Close a slice with an octagon of ``radius`` (h, w) pixels; what lies beyond the border is background.

    The octagon (a box, and as many crosses as make its sides equal) costs a tenth of a disc of the same size.
    """
    rows, columns = radius
    crosses = int(min(radius) * (2 - 2**0.5) + 0.5)
    box = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * (columns - crosses) + 1, 2 * (rows - crosses) + 1))
    grown = cv2.copyMakeBorder(mask, rows, rows, columns, columns, cv2.BORDER_CONSTANT, value=0)
    grown = cv2.dilate(grown, _CROSS, iterations=crosses) if crosses else grown
    grown = cv2.erode(cv2.dilate(grown, box), box)
    grown = cv2.erode(grown, _CROSS, iterations=crosses) if crosses else grown
    return np.asarray(grown[rows : rows + mask.shape[0], columns : columns + mask.shape[1]], np.uint8)


def fill_small_holes(mask: NDArray[np.uint8], most: float) -> NDArray[np.uint8]:
    """Fill the holes of a slice, (H, W) in {0, 1}, whose outline encloses at most ``most`` pixels; may write to it."""
    mask = np.ascontiguousarray(mask)
    contours, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return mask
    for contour, (_, _, _, parent) in zip(contours, tree.reshape(-1, 4), strict=True):
        if parent >= 0 and cv2.contourArea(contour) <= most:
            cv2.drawContours(mask, [contour], -1, 1, cv2.FILLED)
    return mask


def erode_cross(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Erode a 3-D mask in {0, 1} once by the cross of 6 neighbours; beyond the border is background."""
    padded = np.pad(mask, 1)
    eroded = np.stack([np.asarray(cv2.erode(one, _CROSS), np.uint8)[1:-1, 1:-1] for one in padded[1:-1]])
    return np.asarray(eroded & padded[:-2, 1:-1, 1:-1] & padded[2:, 1:-1, 1:-1], np.uint8)


def grow_city_block(mask: NDArray[np.uint8], steps: int) -> None:
    """Dilate a 3-D mask, in place, ``steps`` times by the cross of 6 neighbours: city-block distance <= ``steps``.

    Non-zero becomes 1. Distances within the slices by OpenCV, across slices by a pass up and a pass down.

    Args:
        mask: (D, H, W) uint8, changed.
        steps: at most 254.
    """

    def within(part: slice) -> None:
        for one in mask[part]:
            if one.any():
                one[:] = cv2.distanceTransform((one == 0).view(np.uint8), cv2.DIST_L1, 3, dstType=cv2.CV_8U)
            else:
                one[:] = 255

    over_blocks(within, len(mask), 8)
    for order in (range(1, len(mask)), range(len(mask) - 2, -1, -1)):
        for k in order:
            before = mask[k - order.step]
            np.minimum(mask[k], before + (before < 255), out=mask[k], casting="unsafe")
    np.less_equal(mask, steps, out=mask.view(np.bool_))
