"""``lung_field``: the published input mask, hulls of the two lungs, dilated: everything that may belong to them.

After Liao et al. as their code for the Data Science Bowl 2017 does it (lfz/DSB2017, preprocessing/step1.py and
full_prep.py); sizes and limits are those of that code. As in :mod:`covidct.functional.lungs` the lungs are found on a
grid of about 2 mm, whose block means take the place of the code's Gaussian; scans that are as coarse already get the
Gaussian. The hulls are drawn, and dilated, on the full grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from covidct.functional.coarse import coarsen, grid_factors
from covidct.functional.morphology import erode_cross, grow_city_block, label_volume, outside_air
from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ("LungField", "lung_field")

_THRESHOLD = -600.0  # HU
_SLICE_AREA = 30.0  # mm^2, smaller components of a slice are dropped
_ECCENTRICITY = 0.99  # and longer ones
_VOLUME = (0.68e6, 7.5e6)  # mm^3 of a 3-D component
_LARGE_SLICE = 6e3  # mm^2: slices that count for the distance to the centre
_CENTRE = 62.0  # mm, mean of the smallest distances
_CUT = 2  # slices taken from the top per round
_EROSIONS, _RATIO = 22, 4.8  # most erosions that may part the lungs, largest ratio of their sizes
_COVER = 0.95  # of a lung's area in a slice, by its largest components
_HULL = 2.0  # a hull more than so much larger than the lung is not used
_CORNER = 10  # pixels: a constant corner of this size shows a circular field of view


class LungField(NamedTuple):
    """What :func:`lung_field` returns.

    Attributes:
        mask: (D, H, W) uint8, 1 = lung field of either side (the published mask is the union), 0 = the rest.
        found: False when no component has the volume and place of lungs; the mask is empty then. The document sorts
            such scans out by hand.
    """

    mask: NDArray[np.uint8]
    found: bool


def lung_field(
    hu: NDArray[Any], spacing: tuple[float, float, float], *, dilation: int = 10, simple: bool = False
) -> LungField:
    """Make the published lung mask: -600 HU, components by size, shape and place, hull per lung and slice, dilation.

    Args:
        hu: (D, H, W) int16 or float32 in HU, canonical LPS grid.
        spacing: (d, h, w) in mm.
        dilation: steps to the 6 neighbours, in voxels as published, not in mm.
        simple: the short variant: threshold, without what touches the border of a slice, hull per component, dilation.

    Returns:
        The mask and whether lungs were found.

    Raises:
        InputError: when the array is not 3-D or the spacing is not three positive numbers.
    """
    factors = grid_factors(hu, spacing, what="The lung field")
    coarse = hu if factors == (1, 1, 1) else coarsen(hu, factors)
    d, h, w = (s * f for s, f in zip(spacing, factors, strict=True))
    lungs = _simple(coarse, (d, h, w)) if simple else _published(coarse, (d, h, w), factors)
    mask = np.zeros(hu.shape, np.uint8)
    if not lungs:
        return LungField(mask, found=False)
    for lung in lungs:
        _draw_hulls(mask, lung, factors, per_component=simple)
    grow_city_block(mask, dilation)
    return LungField(mask, found=True)


def _simple(hu: NDArray[Any], spacing: tuple[float, float, float]) -> list[NDArray[np.uint8]]:
    """Air of the body in components of at least 30 mm^2 per slice; none when it is too little for lungs."""
    air = (hu < _THRESHOLD).view(np.uint8)
    for one in air:
        one[outside_air(one)] = 0
        one[:] = _components(one, lambda _, area: area * spacing[1] * spacing[2] > _SLICE_AREA)
    return [air] if float(air.sum(dtype=np.int64) * np.prod(spacing)) >= _VOLUME[0] else []


def _published(
    hu: NDArray[Any], spacing: tuple[float, float, float], factors: tuple[int, int, int]
) -> list[NDArray[np.uint8]]:
    """The two lungs (or one mask, where they cannot be parted) on the grid of ``hu``; empty when there are none."""
    air = _binarise(hu, spacing, factors)
    if not _large_enough(air, spacing):
        return []
    step = max(1, round(_CUT / factors[0]))
    for cut in range(0, len(air), step):
        lungs = _select(air, spacing, cut)
        if lungs.any():
            filled = _fill(lungs if cut == 0 else _grow_back(lungs, air, cut))
            return [_fill_slices(lung) for lung in _part(filled, spacing, factors)]
    return []


def _large_enough(air: NDArray[np.uint8], spacing: tuple[float, float, float]) -> bool:
    """Whether the air inside the body could hold lungs at all; spares scans without lungs the search from the top."""
    inner = np.stack([one & ~outside_air(one).view(np.uint8) & 1 for one in air])
    _, sizes = label_volume(inner)
    return float(sizes.max() * np.prod(spacing)) >= _VOLUME[0]


def _binarise(
    hu: NDArray[Any], spacing: tuple[float, float, float], factors: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Air slice by slice, without small and long components and what lies outside a circular field of view."""
    air = np.empty(hu.shape, np.uint8)
    height, width = hu.shape[1:]
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    circle = cv2.erode((radius < height / 2).view(np.uint8), np.ones((5, 5), np.uint8)) > 0  # as its Gaussian does
    corner = max(1, _CORNER // factors[1])
    pixel = spacing[1] * spacing[2]

    def fits(part: NDArray[np.uint8], area: int) -> bool:
        return area * pixel > _SLICE_AREA and _eccentricity(part) < _ECCENTRICITY

    def work(part: slice) -> None:
        for k in range(part.start, part.stop):
            one = hu[k].astype(np.float32)
            patch = one[:corner, :corner]
            round_ = patch.min() == patch.max()
            if factors[1] == 1:
                one = cv2.GaussianBlur(one, (5, 5), 1.0, borderType=cv2.BORDER_REFLECT)
            below = one < _THRESHOLD
            air[k] = _components((below & circle if round_ else below).view(np.uint8), fits)

    over_blocks(work, len(hu), 8)
    return air


def _components(mask: NDArray[np.uint8], keep: Callable[[NDArray[np.uint8], int], bool]) -> NDArray[np.uint8]:
    """The 8-connected components of a slice for which ``keep(component in its box, area)`` holds."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    kept = np.zeros(count, np.uint8)
    for label in range(1, count):
        x, y, columns, rows, area = boxes[label].tolist()
        if area > 1:
            kept[label] = keep((labels[y : y + rows, x : x + columns] == label).view(np.uint8), area)
    return np.asarray(kept[labels], np.uint8)


def _eccentricity(part: NDArray[np.uint8]) -> float:
    """Of the ellipse with the same second moments, as scikit-image defines it."""
    moments = cv2.moments(part, binaryImage=True)
    area = moments["m00"]
    a, b, c = moments["mu20"] / area + 1 / 12, moments["mu11"] / area, moments["mu02"] / area + 1 / 12
    spread = np.hypot((a - c) / 2, b)
    large, small = (a + c) / 2 + spread, (a + c) / 2 - spread
    return float(np.sqrt(max(1 - small / large, 0.0)))


def _select(air: NDArray[np.uint8], spacing: tuple[float, float, float], cut: int) -> NDArray[np.uint8]:
    """3-D components of the volume and place of lungs, with ``cut`` slices taken from the top."""
    bottom = air[: len(air) - cut]
    voxel = float(np.prod(spacing))
    labels, sizes = label_volume(np.ascontiguousarray(bottom), least=int(_VOLUME[0] / voxel))
    middle = labels.shape[2] // 2
    good = (sizes * voxel >= _VOLUME[0]) & (sizes * voxel <= _VOLUME[1])
    good[0] = False
    for end in (0, -1):
        good[labels[end][[0, 0, -1, -1, 0, -1], [0, -1, 0, -1, middle, middle]]] = False
    height, width = labels.shape[1:]
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((y - (height - 1) / 2) * spacing[1], (x - (width - 1) / 2) * spacing[2])
    for label in np.flatnonzero(good).tolist():
        near = []
        for one in labels:
            part = one == label
            if np.count_nonzero(part) * spacing[1] * spacing[2] > _LARGE_SLICE:
                near.append(radius[part].min())
        good[label] = bool(near) and float(np.mean(near)) < _CENTRE
    lungs = np.zeros_like(air)
    lungs[: len(bottom)] = good[labels]
    return lungs


def _grow_back(lungs: NDArray[np.uint8], air: NDArray[np.uint8], cut: int) -> NDArray[np.uint8]:
    """Give the lungs back what they had in the cut slices, as far as it is near and connected."""
    whole = lungs.copy()
    whole[-cut:] = air[-cut:]
    near = lungs.copy()
    grow_city_block(near, cut)
    labels, _ = label_volume(whole & near)
    seen = np.unique(labels[lungs > 0])
    return np.isin(labels, seen[seen > 0]).view(np.uint8)


def _fill(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Everything that is not background connected to a corner of the volume."""
    labels, sizes = label_volume((mask == 0).view(np.uint8), diagonal=True)
    outer = np.zeros(len(sizes), bool)
    outer[labels[:: max(len(labels) - 1, 1), :: labels.shape[1] - 1, :: labels.shape[2] - 1].ravel()] = True
    outer[0] = False
    return (~outer[labels]).view(np.uint8)


def _part(
    mask: NDArray[np.uint8], spacing: tuple[float, float, float], factors: tuple[int, int, int]
) -> list[NDArray[np.uint8]]:
    """Erode until there are two components of like size; each voxel then belongs to the nearer one."""
    eroded = mask
    for _ in range(-(-_EROSIONS // max(factors))):
        labels, sizes = label_volume(eroded, diagonal=True)
        if len(sizes) > 2 and sizes[1] / sizes[2] < _RATIO:
            one, two = (_distance(labels == label, spacing) for label in (1, 2))
            return [_main(mask & nearer.view(np.uint8)) for nearer in (one < two, two < one)]
        eroded = erode_cross(eroded)
    return [mask]


def _distance(seed: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """Euclidean distance in mm to a seed, negative within."""
    import SimpleITK  # takes a second to load

    image: Any = SimpleITK.GetImageFromArray(seed.view(np.uint8))
    image.SetSpacing([float(s) for s in spacing[::-1]])
    distance: Any = SimpleITK.SignedMaurerDistanceMap
    return np.asarray(SimpleITK.GetArrayFromImage(distance(image, False, False, True)), np.float32)


def _main(lung: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """In each slice what lies in the hulls of the components that cover 95 % of the area; of that the largest part."""
    kept = np.zeros_like(lung)
    for one, out in zip(lung, kept, strict=True):
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(one, connectivity=8, ltype=cv2.CV_32S)
        areas = boxes[1:, cv2.CC_STAT_AREA]
        order = np.argsort(-areas, kind="stable")
        needed = int(np.searchsorted(np.cumsum(areas[order]), _COVER * areas.sum())) + 1
        for label in order[: min(needed, count - 1)] + 1:
            for hull in _hulls((labels == label).astype(np.uint8)):
                cv2.fillConvexPoly(out, hull, 1)
        out &= one
    labels, sizes = label_volume(kept, diagonal=True)
    return (labels == 1).view(np.uint8) if len(sizes) > 1 else kept


def _fill_slices(lung: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill the holes of every slice."""
    for one in lung:
        contours, _ = cv2.findContours(one, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(one, contours, -1, 1, cv2.FILLED)
    return lung


def _hulls(mask: NDArray[np.uint8], *, per_component: bool = True) -> Iterator[NDArray[np.int32]]:
    """Hulls of a slice's components, or of all of them together."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    groups = contours if per_component else [np.concatenate(contours)] if contours else []
    for group in groups:
        yield np.asarray(cv2.convexHull(group), np.int32)


def _draw_hulls(
    mask: NDArray[np.uint8], lung: NDArray[np.uint8], factors: tuple[int, int, int], *, per_component: bool
) -> None:
    """Draw the hull of a lung in each slice, unless it is more than twice as large, into the mask on the full grid."""
    deep, high, wide = factors
    scale = np.array([wide, high])
    shifts = np.array([[0, 0], [wide - 1, 0], [0, high - 1], [wide - 1, high - 1]])

    def work(part: slice) -> None:
        for k in range(part.start, part.stop):
            area = int(np.count_nonzero(lung[k]))
            if not area:
                continue
            drawn = np.zeros_like(lung[k])
            hulls = list(_hulls(lung[k], per_component=per_component))
            for hull in hulls:
                cv2.fillConvexPoly(drawn, hull, 1)
            if np.count_nonzero(drawn) > _HULL * area:
                grown = np.repeat(np.repeat(lung[k], high, 0), wide, 1)
                whole = np.ascontiguousarray(grown[: mask.shape[1], : mask.shape[2]])
            else:
                whole = np.zeros(mask.shape[1:], np.uint8)
                for hull in hulls:  # a voxel of the coarse grid is a block of the full one: take the blocks' corners
                    corners = np.concatenate([hull * scale + shift for shift in shifts])
                    cv2.fillConvexPoly(whole, cv2.convexHull(corners), 1)
            mask[k * deep : (k + 1) * deep] |= whole

    over_blocks(work, len(lung), 8)
