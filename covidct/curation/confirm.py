"""Whether one picture is a copy of another: correlation of their details after alignment of scale and shift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    Grey = NDArray[np.float32]

__all__ = ("COMMON_SIZE", "Alignment", "align", "common_size", "resemblance")

COMMON_SIZE = 128
"""Pixels per side at which pictures are compared."""

# Ours, measured on samples of 543 CT slices and 787 radiographs of two public sets: at 128 pixels, details of 1 to 2
# pixels of copies (JPEG, rescaled by 0.5 to 1.5, cropped by 5 %) correlate by 0.98 and more, of other patients by 0.8
# at most; neighbouring slices of one scan lie between.
_LEAST = 32
_FINE, _COARSE = 1.0, 2.0  # standard deviations of the Gaussians whose difference is called the details, pixels
# of ECC: count and epsilon, most iterations, least gain
_COARSE_STEPS, _FINE_STEPS = (3, 30, 1e-4), (3, 30, 1e-5)
_INVERSE = cv2.WARP_INVERSE_MAP
_SMOOTH = 5  # pixels: ECC's own Gaussian, which widens the range it finds a way from
_MARGIN = 4  # pixels of the border that are not compared: resampling fills them
_SCALE, _SHEAR, _SHIFT = 0.15, 0.04, 0.12  # a copy is scaled and moved by no more, as shares of the side
_OVERLAP = 0.5  # of the pixels must be common
_CROP = 0.05  # of the starts of the search
_SURE = 0.975  # ECC's coefficient at which no other start is tried
_ROUGH_SIDE, _ROUGH_SHIFT = 64, 6.0  # pixels of a rough comparison, and how far it moves
_ROUGH_WIDE = 4.0  # standard deviation of the coarse Gaussian of what is moved: shapes, not details, tell the shift
_ROUGH_SURE = 0.8  # resemblance at which no other scale is tried


@dataclass(frozen=True, slots=True)
class Alignment:
    """How well a picture fits another.

    Attributes:
        details: normalised cross-correlation of the details (differences of Gaussians) where both pictures are,
            -1 to 1.
        overall: the same of the grey values themselves.
        scale: (vertical, horizontal) size of the common content in the second picture over that in the first, both
            brought to one size.
        shift: (down, right) by which the second picture is moved, as a share of its sides.
    """

    details: float
    overall: float
    scale: tuple[float, float]
    shift: tuple[float, float]


def align(first: NDArray[Any], second: NDArray[Any]) -> Alignment | None:
    """Align two pictures and correlate them.

    Both are brought to one square size, so that scaling alone changes nothing; then scale and shift are found by the
    enhanced correlation coefficient (Evangelidis and Psarakis 2008, ``cv2.findTransformECC``), first at half the size.
    What is compared are details: outlines of chests are alike, vessels and ribs are not.

    Args:
        first: grey (H, W), any size and range.
        second: grey (H, W), any size and range.

    Returns:
        The correlations, or None where no small scaling and shift makes the pictures alike (or one of them is flat).
    """
    side = max(_LEAST, min(COMMON_SIZE, *first.shape, *second.shape))
    one, other = common_size(first, side), common_size(second, side)
    warp = _find_warp(one, other)
    if warp is None or not _plausible(warp, side):
        return None
    moved = _moved(other, warp)
    inside = np.zeros((side, side), np.float32)
    inside[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = 1
    where = np.asarray(inside * cv2.warpAffine(inside, warp, (side, side), flags=_INVERSE | cv2.INTER_NEAREST)) > 0
    if where.mean() < _OVERLAP:
        return None
    details = _correlation(_details(one)[where], _details(moved)[where])
    overall = _correlation(one[where], moved[where])
    (across, _, right), (_, downwards, down) = warp.tolist()
    return Alignment(details, overall, (downwards, across), (down / side, right / side))


def resemblance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """A rough :func:`align` in a tenth of its time: correlation of details at 64 pixels a side, -1 to 1.

    The shift is that of phase correlation, the scale one of three: as they are, or either cropped by 5 %.

    Args:
        first: grey (H, W), any size and range.
        second: likewise.

    Returns:
        The largest correlation, or the first that is large.
    """
    one, other = common_size(first, _ROUGH_SIDE), common_size(second, _ROUGH_SIDE)
    details, shapes = _details(one), _details(one, _ROUGH_WIDE)
    inside = slice(_MARGIN, -_MARGIN)
    window = _hanning()
    best = -1.0
    for scale in (1.0, 1 - _CROP, 1 / (1 - _CROP)):
        spare = (1 - scale) * (_ROUGH_SIDE - 1) / 2
        warp = np.array([[scale, 0, spare], [0, scale, spare]], np.float32)
        (right, down), _ = cv2.phaseCorrelate(shapes, _details(_moved(other, warp), _ROUGH_WIDE), window)
        if max(abs(right), abs(down)) <= _ROUGH_SHIFT:
            warp[:, 2] += scale * np.array([right, down], np.float32)
        moved = _details(_moved(other, warp))
        best = max(best, _correlation(details[inside, inside].ravel(), moved[inside, inside].ravel()))
        if best >= _ROUGH_SURE:
            break
    return best


def common_size(picture: NDArray[Any], side: int = COMMON_SIZE) -> Grey:
    """A picture as (side, side) float32; its aspect ratio is not kept."""
    grey = picture.astype(np.float32, copy=False)
    if grey.shape == (side, side):
        return grey
    smaller = min(grey.shape) > side
    resized = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def _find_warp(one: Grey, other: Grey) -> Grey | None:
    """Affine map (2, 3) from pixels of the one to those of the other; None without a way there.

    At half the size the search begins from several starts, of which the best is refined.
    """
    half = len(one) // 2
    small, little = common_size(one, half), common_size(other, half)
    best, warp = -1.0, None
    for start in _starts(half):
        found = _enhance(small, little, start, _COARSE_STEPS)
        if found is not None and found[0] > best:
            best, warp = found
        if best >= _SURE:
            break
    if warp is None:
        return None
    factor = len(one) / half
    warp = warp.copy()
    warp[:, 2] = factor * warp[:, 2] + (factor - 1) / 2 * (warp[:, :2].sum(axis=1) - 1)  # pixel centres lie at halves
    found = _enhance(one, other, warp, _FINE_STEPS)
    return None if found is None else found[1]


def _starts(side: int) -> Iterator[Grey]:
    """Where the search begins: pictures as they lie, then the one or the other cropped at a corner."""
    yield np.eye(2, 3, dtype=np.float32)
    for kept in (1 - _CROP, 1 / (1 - _CROP)):
        for down, right in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
            spare = (1 - kept) * side
            yield np.array([[kept, 0, right * spare], [0, kept, down * spare]], np.float32)


def _enhance(one: Grey, other: Grey, start: Grey, steps: tuple[int, int, float]) -> tuple[float, Grey] | None:
    """Coefficient and map that the enhanced correlation coefficient reaches; None where that leads nowhere."""
    everywhere = np.full(other.shape, 255, np.uint8)
    try:
        value, warp = cv2.findTransformECC(one, other, start, cv2.MOTION_AFFINE, steps, everywhere, _SMOOTH)
    except cv2.error:  # flat, or nothing in common
        return None
    return float(value), np.asarray(warp, np.float32)


def _plausible(warp: Grey, side: int) -> bool:
    """Whether a map is no more than a small scaling and shift."""
    shear = max(abs(float(warp[0, 1])), abs(float(warp[1, 0])))
    scale = float(np.abs(np.diag(warp[:, :2]) - 1).max())
    return shear <= _SHEAR and scale <= _SCALE and float(np.abs(warp[:, 2]).max()) <= _SHIFT * side


@cache
def _hanning() -> Grey:
    """Takes the border off before phase correlation."""
    return np.asarray(cv2.createHanningWindow((_ROUGH_SIDE, _ROUGH_SIDE), cv2.CV_32F), np.float32)


def _moved(picture: Grey, warp: Grey) -> Grey:
    """The picture seen through an affine map."""
    flags = _INVERSE | cv2.INTER_LINEAR
    out = cv2.warpAffine(picture, warp, picture.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32)


def _details(picture: Grey, coarse_sigma: float = _COARSE) -> Grey:
    """Difference of Gaussians."""
    fine, coarse = (cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (_FINE, coarse_sigma))
    return np.asarray(fine - coarse, np.float32)


def _correlation(one: Grey, other: Grey) -> float:
    """Normalised cross-correlation of values; 0 where either is flat."""
    a, b = one.astype(np.float64) - one.mean(dtype=np.float64), other.astype(np.float64) - other.mean(dtype=np.float64)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-9 else 0.0
