"""Background removal in single slices: the lungs by threshold and morphology, in HU or in display values.

Source: the document of the gated dual-contrast ensemble (D000), section 3.2.2: "intensity thresholding and
morphological operations, then estimate the lung lobe field of view, select the largest connected component". It gives
no parameter; those here are recommendations. A slice knows less than its scan: where there is one, in HU and with its
spacing, :func:`covidct.functional.segment_lungs` finds the lungs in 3-D, without trachea and bowel.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, get_args

import cv2
import numpy as np

from covidct.errors import InputError, UsageError
from covidct.functional.morphology import fill_small_holes
from covidct.functional.parallel import over_blocks
from covidct.functional.set_morphology import closing, opening

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("Intensity", "is_display", "keep_parts", "lung_mask_2d", "mend", "remove_background")

Intensity = Literal["hu", "unit"]

_THRESHOLD_HU = -600.0  # of Liao et al. (DSB2017), also of the ResNeXt+ system: one constant for both
_GAS_HU = -980.0  # median of a part at or below: stomach, bowel or a gap at the table; as segment_lungs
_AIR_HU = -1024.0  # least value of a 12-bit CT
_OPENING, _CLOSING = 2.0, 10.0  # radii of the discs in pixels of a slice of 512
_PUBLISHED_SIDE = 512
_LEAST = 0.004  # of the slice, the least area of lungs; ours: a trachea has less
_SMALL = 0.05  # of the largest part, the least area of another; ours, as segment_lungs
_HOLE = 0.02  # of the slice, the largest hole that is filled; ours: a mediastinum between lungs that touch has more
_PAPER = 0.9  # of the brightest value: a row or column of a figure's margin; ours
_CORNER = 0.03  # of a side: how deep a corner, and the edge of a picture, is; ours
_ALONG = 0.6  # of a side: outside air, not lungs, touches so much of it; ours
_BLOCK = 4  # slices a thread takes at a time


def lung_mask_2d(
    image: NDArray[Any],
    *,
    threshold: float | None = None,
    keep: int = 2,
    opening_radius: float = _OPENING,
    closing_radius: float = _CLOSING,
    intensity: Intensity | None = None,
) -> NDArray[np.uint8]:
    """Find the lungs of each slice by threshold and morphology.

    Air below the threshold, without the air that touches the border; opening by a disc, which takes away specks and
    thin bridges; closing by a disc, which takes in vessels and nodules at the pleura; holes filled up to 2 % of the
    slice, so that the mediastinum stays out where the closing joins the lungs around it; the ``keep`` largest parts.
    uint8 and floats in [0, 1] are display values: they have Otsu's threshold, slice by slice, and a white margin of a
    figure counts as outside. Signed whole numbers, and floats that reach below 0, are HU: there parts that are mere gas
    are left out too.

    What a slice does not tell: lungs that touch the border of a cropped picture are taken for outside air, a large
    trachea or bowel may be taken for lung, and in a narrow window, which shows fat as dark as lung, Otsu's threshold
    may join the lungs to the outside: give a threshold then.

    Args:
        image: (..., H, W) in HU, or display values in which lungs are darker than tissue.
        threshold: below it is air, in the unit of the image; None: -600 HU, or Otsu's.
        keep: how many parts are kept; 2, since the lungs of a slice are usually two parts (recommendation); 1 is the
            document's word. Parts of less than 5 % of the largest are left out.
        opening_radius: in pixels of a slice whose longer side has 512; scaled for others (recommendation).
        closing_radius: likewise.
        intensity: ``"hu"`` or ``"unit"`` (display values) where the values do not tell, as floats of a part inside the
            body; None: by the values.

    Returns:
        (..., H, W) uint8, 1 inside. All 0 in a slice where the parts kept make less than 0.4 % of it: that is no error.

    Raises:
        InputError: when the array is no stack of slices, or for values that are not finite or that may be either.
        UsageError: for a number out of range, or an intensity that the values contradict.
    """
    if image.ndim < 2 or 0 in image.shape[-2:]:
        raise InputError(f"An array of shape {image.shape} is no image: give (H, W) or a stack (..., H, W).")
    if type(keep) is not int or keep < 1 or not (opening_radius >= 0 and closing_radius >= 0):
        raise UsageError(
            f"keep={keep!r} must be a whole number of at least 1, opening_radius={opening_radius} and "
            f"closing_radius={closing_radius} must not be negative."
        )
    scale = max(image.shape[-2:]) / _PUBLISHED_SIDE
    discs = _disc(opening_radius * scale), _disc(closing_radius * scale)
    display = is_display(image, intensity=intensity)
    whole = slice(0, image.shape[-2]), slice(0, image.shape[-1])
    out = np.zeros(image.shape, np.uint8)
    planes, drawn = (stack.reshape(-1, *image.shape[-2:]) for stack in (image, out))

    def work(part: slice) -> None:
        for k in range(part.start, part.stop):
            inner = _within_margin(planes[k]) if display else whole
            plane = np.ascontiguousarray(planes[k][inner])
            if not plane.size:
                continue
            air = np.asarray(plane < _threshold(plane, threshold, display), np.uint8)
            air[_outside(air, inner, planes[k].shape)] = 0
            mask = fill_small_holes(closing(opening(air, discs[0]), discs[1]), _HOLE * planes[k].size)
            if not display:
                mask = _without_gas(mask, plane)
            drawn[k][inner] = keep_parts(mask, keep, least=_LEAST * planes[k].size)

    if image.size:
        over_blocks(work, len(planes), _BLOCK)
    return out


def remove_background(
    image: NDArray[Any], mask: NDArray[Any], *, fill: float | None = None, intensity: Intensity | None = None
) -> NDArray[Any]:
    """Set what lies outside the mask to one value.

    Args:
        image: (..., H, W) in HU or display values.
        mask: of the image's shape, non-zero inside, from :func:`lung_mask_2d` or a network.
        fill: the value, one that the dtype can hold; None: 0 (black) for display values, -1024 (air) for HU.
        intensity: as in :func:`lung_mask_2d`.

    Returns:
        A new array, shape and dtype of ``image``.

    Raises:
        InputError: for values that are not finite or that may be either.
        UsageError: when the shapes differ, for a value that the dtype cannot hold, or an intensity that the values
            contradict.
    """
    if mask.shape != image.shape:
        raise UsageError(f"The mask has the shape {mask.shape}, the image {image.shape}: they must be the same.")
    display = is_display(image, intensity=intensity)
    value = fill if fill is not None else 0.0 if display else _AIR_HU
    return np.where(mask != 0, image, _fitting(value, image.dtype))


def is_display(image: NDArray[Any], *, intensity: Intensity | None = None) -> bool:
    """Whether an array holds display values: uint8, or floats within [0, 1]. Else it holds HU.

    Args:
        image: any shape.
        intensity: ``"hu"`` or ``"unit"``, what it is known to hold; None: by dtype and values.

    Raises:
        InputError: for values that are not finite, or that may be either: unsigned numbers of more than 8 bits, which
            hold no HU (values as stored in a DICOM file have an offset), and floats that neither end at 1 nor reach
            below 0, where air and lungs are.
        UsageError: for an unknown intensity, or one that the values contradict.
    """
    if intensity is not None and intensity not in get_args(Intensity):
        raise UsageError(f"intensity={intensity!r} is unknown: use 'hu' or 'unit'.")
    kind = image.dtype.kind
    if kind not in "if" and image.dtype != np.uint8:
        raise InputError(
            f"The image is {image.dtype}, which holds neither HU nor display values: give HU as signed numbers, or "
            "display values as uint8 or as floats in [0, 1]."
        )
    low, high = (float(image.min()), float(image.max())) if kind == "f" and image.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("The image holds values that are not finite: replace them first.")
    unit = image.dtype == np.uint8 or (kind == "f" and image.size > 0 and low >= 0 and high <= 1)
    if intensity is None:
        if not unit and low >= 0 and high > 0:
            raise InputError(
                f"The image is {image.dtype} with values from {low:g} to {high:g}, which may be HU or display values: "
                "scale display values to [0, 1], or say intensity='hu'."
            )
        return unit
    if (intensity == "unit") is not unit and (intensity == "unit" or image.dtype == np.uint8):
        raise UsageError(
            f"intensity={intensity!r} does not fit {image.dtype} with values from {low:g} to {high:g}: display values "
            "are uint8, or floats in [0, 1]; HU are signed."
        )
    return intensity == "unit"


def keep_parts(mask: NDArray[np.uint8], keep: int, *, least: float = 0.0) -> NDArray[np.uint8]:
    """The largest parts of a slice's mask, (H, W) in {0, 1}, by 4 neighbours; none of less than 5 % of the largest.

    Args:
        mask: (H, W) uint8, 0 and 1.
        keep: how many.
        least: pixels that the parts kept must have together, else there are none.

    Returns:
        (H, W) uint8, a new array.
    """
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask), connectivity=4)
    areas = boxes[1:, cv2.CC_STAT_AREA]
    kept = np.zeros(count, np.uint8)
    order = np.argsort(-areas, kind="stable")[:keep]
    order = order[areas[order] >= _SMALL * areas.max(initial=0)]
    if areas[order].sum() >= least:
        kept[1 + order] = 1
    return np.asarray(kept[labels], np.uint8)


def mend(mask: NDArray[np.uint8], keep: int) -> NDArray[np.uint8]:
    """The largest parts of a slice's mask, as a network gives it, with their holes filled as in :func:`lung_mask_2d`.

    Args:
        mask: (H, W) uint8, 0 and 1; may be written to.
        keep: how many.

    Returns:
        (H, W) uint8, a new array.
    """
    return keep_parts(fill_small_holes(mask, _HOLE * mask.size), keep)


def _fitting(value: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A value in a dtype that can hold it."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not (limits.min <= value <= limits.max and value == int(value)):
            raise UsageError(
                f"fill={value:g} does not fit {dtype}: give a whole number from {limits.min} to {limits.max}."
            )
    elif np.isfinite(value) and abs(value) > float(np.finfo(dtype).max):
        raise UsageError(f"fill={value:g} does not fit {dtype}: give a smaller number.")
    return np.asarray(value).astype(dtype)


def _threshold(plane: NDArray[Any], threshold: float | None, display: bool) -> float:
    """Where air ends."""
    if threshold is not None:
        return threshold
    if not display:
        return _THRESHOLD_HU
    levels = plane if plane.dtype == np.uint8 else cv2.convertScaleAbs(plane.astype(np.float32), alpha=255)
    highest, _ = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)  # of the dark class
    return (highest + 0.5) / (1 if plane.dtype == np.uint8 else 255)


def _within_margin(plane: NDArray[Any]) -> tuple[slice, slice]:
    """The picture without rows and columns at its edges that are white for 95 % of their length."""
    white = plane >= _PAPER * (255 if plane.dtype == np.uint8 else 1)
    inner = [slice(0, plane.shape[0]), slice(0, plane.shape[1])]
    for axis in (0, 1, 0):  # once the columns are gone, more rows may be white
        rest_of = white[inner[0], inner[1]]
        if not rest_of.size:
            break
        share = rest_of.mean(1 - axis)
        rest = np.flatnonzero(share < 0.95)
        start = inner[axis].start
        inner[axis] = slice(start + int(rest[0]), start + int(rest[-1]) + 1) if len(rest) else slice(0, 0)
    return inner[0], inner[1]


def _outside(air: NDArray[np.uint8], inner: tuple[slice, slice], whole: tuple[int, ...]) -> NDArray[np.bool_]:
    """Air that touches the border of the picture by 4 neighbours.

    Where a margin was taken off, only what lies in a corner or along most of the side counts: white tissue goes with
    a white margin, which leaves the lungs themselves at the edge, but there they touch it little.
    """
    labels = np.asarray(cv2.connectedComponents(air, connectivity=4)[1], np.int32)
    found: set[int] = set()
    for axis, across in ((0, labels), (1, labels.T)):
        depth = max(2, round(_CORNER * across.shape[0]))
        width = max(2, round(_CORNER * across.shape[1]))
        for margin, band in (
            (inner[axis].start > 0, across[:depth]),
            (inner[axis].stop < whole[axis], across[::-1][:depth]),
        ):
            if margin:
                found |= set(band[:, :width].ravel().tolist()) | set(band[:, -width:].ravel().tolist())
                touching = [set(column) for column in band.T.tolist()]
                along = Counter(label for column in touching for label in column)
                found |= {label for label, count in along.items() if count > _ALONG * band.shape[1]}
            else:
                found |= set(band[0].tolist())
    outside: NDArray[np.bool_] = np.isin(labels, list(found - {0}))
    return outside


def _without_gas(mask: NDArray[np.uint8], hu: NDArray[Any]) -> NDArray[np.uint8]:
    """Without parts whose median is that of gas: even emphysema holds tissue."""
    count, labels = cv2.connectedComponents(np.ascontiguousarray(mask), connectivity=4)
    good = np.ones(count, np.uint8)
    good[0] = 0
    for label in range(1, count):
        good[label] = np.median(hu[labels == label]) > _GAS_HU
    return np.asarray(good[labels], np.uint8)


def _disc(radius: float) -> NDArray[np.uint8]:
    """All pixels within the radius, (2r + 1, 2r + 1)."""
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(y**2 + x**2 <= radius**2, np.uint8)
