"""``lesion_table``: how much lesion of each type a scan shows, and where in the lungs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.ndimage import find_objects

from covidct.errors import InputError
from covidct.functional.lung_periphery import near_surface
from covidct.labels import LESIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ("LesionMeasures", "lesion_table")

Side = Literal["right", "left", "both", "none"]


@dataclass(frozen=True, slots=True)
class LesionMeasures:
    """One row of a lesion table. What cannot be known is NaN, or None for ``side``, and ``unknown`` says why.

    Attributes:
        lesion: ``"ground_glass_opacity"``, ``"consolidation"``, or ``"all"`` for both together.
        objects: parts that hang together in 3-D by 26 neighbours; in the row of all, ground glass and the consolidation
            that it touches are one.
        volume_ml: volume in millilitres, that outside the lung mask too.
        right_percent: share of the right lung that is lesion, percent; NaN where there is no such lung either.
        left_percent: share of the left lung, percent.
        lungs_percent: share of both lungs together, percent.
        side: lungs with at least one voxel of the lesion: ``"right"``, ``"left"``, ``"both"`` or ``"none"``.
        peripheral_percent: share of the lesion's lung voxels that lie at most 20 mm from the surface of their
            lung (``covidct.functional.lung_periphery``), percent; NaN without such voxels.
        lungs_peripheral_percent: the same share of all voxels of the lungs, percent: what a lesion that is spread
            evenly would have.
        mean_hu: mean over the lesion's voxels in Hounsfield units; NaN without voxels.
        unknown: what was missing: ``"spacing"`` (no volume, no distance), ``"thickness"`` (of a single slice: no
            volume), ``"lung_mask"`` (no share, side or distance), ``"sides"`` (the mask does not tell right from left),
            ``"hu"`` (no mean).
    """

    lesion: str
    objects: int
    volume_ml: float
    right_percent: float
    left_percent: float
    lungs_percent: float
    side: Side | None
    peripheral_percent: float
    lungs_peripheral_percent: float
    mean_hu: float
    unknown: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, a row of :attr:`covidct.result.ScanResult.lesions`."""
        return asdict(self)


class _Lungs(NamedTuple):
    """What is known of the lungs: voxels by mask value, whether the sides are known, and the place of each voxel."""

    mask: NDArray[np.uint8] | None
    voxels: NDArray[np.int64]  # (3,): of values 0 (unused), 1, 2
    sided: bool
    near: NDArray[np.bool_] | None  # (D, H, W), None where distances are unknown


class _Voxels(NamedTuple):
    """The lesion voxels, one entry each."""

    kind: NDArray[np.uint8]
    lung: NDArray[np.uint8] | None
    near: NDArray[np.bool_] | None
    hu: NDArray[np.float64] | None


def lesion_table(
    lesion_mask: NDArray[np.uint8],
    *,
    lung_mask: NDArray[np.uint8] | None = None,
    hu: NDArray[Any] | None = None,
    spacing: Sequence[float] | None = None,
    objects: NDArray[Any] | None = None,
) -> tuple[LesionMeasures, ...]:
    """Measure the lesions of a scan, or of a single slice as a volume of one.

    Lesion outside the lung mask counts in number, volume and mean HU, not in shares of the lungs, side and periphery.
    Distances run between centres of voxels, in 3-D, within the slice where there is only one; beyond the edge of the
    volume nothing is known, so that it is no surface.

    Args:
        lesion_mask: (D, H, W) uint8, 0 none, 1 ground-glass opacity, 2 consolidation; axes towards head, back and left.
        lung_mask: (D, H, W) uint8, 0 background, 1 right lung, 2 left lung. A mask without any 2 is taken to tell
            nothing of the sides; one without any voxel counts as none.
        hu: (D, H, W) of the scan in Hounsfield units; None where the intensity has no unit.
        spacing: (d, h, w) in mm, NaN where unknown; (h, w) will do for a single slice.
        objects: (D, H, W) integers, the number of the object that a voxel belongs to, 0 for none, where the parts are
            known otherwise; None finds them as connected components.

    Returns:
        A row for ground-glass opacity, one for consolidation, one for both together.

    Raises:
        InputError: when a shape, a type or a value is none of these.
    """
    _check(lesion_mask, lung_mask, hu, objects)
    steps = _steps(spacing, len(lesion_mask))
    lungs = _lungs(lung_mask, steps)
    where = lesion_mask > 0
    found = _Voxels(
        lesion_mask[where],
        None if lungs.mask is None else lungs.mask[where],
        None if lungs.near is None else lungs.near[where],
        None if hu is None else hu[where].astype(np.float64),
    )
    counts = _count_objects(lesion_mask, where, objects)
    unknown = _unknown(lungs, steps, hu)
    return tuple(
        _measure(name, found, chosen, count, lungs=lungs, steps=steps, unknown=unknown)
        for name, chosen, count in zip((*LESIONS[1:], "all"), ((1,), (2,), (1, 2)), counts, strict=True)
    )


def _measure(
    name: str,
    found: _Voxels,
    kinds: tuple[int, ...],
    objects: int,
    *,
    lungs: _Lungs,
    steps: tuple[float, float, float],
    unknown: tuple[str, ...],
) -> LesionMeasures:
    """One row: the voxels whose type is among ``kinds``."""
    mine = np.isin(found.kind, kinds)
    inside = None if found.lung is None else np.bincount(found.lung[mine], minlength=3)
    near = None
    if found.near is not None and found.lung is not None:
        near = float(np.count_nonzero(found.near[mine & (found.lung > 0)]))
    lesion, whole = (0, 0) if inside is None else (int(inside[1:].sum()), int(lungs.voxels[1:].sum()))
    right, left = (math.nan, math.nan)
    if inside is not None and lungs.sided:
        right, left = (_percent(int(inside[value]), int(lungs.voxels[value])) for value in (1, 2))
    return LesionMeasures(
        lesion=name,
        objects=objects,
        volume_ml=float(np.count_nonzero(mine)) * math.prod(steps) / 1000,
        right_percent=right,
        left_percent=left,
        lungs_percent=_percent(lesion, whole),
        side=_side(inside) if inside is not None and lungs.sided else None,
        peripheral_percent=math.nan if near is None else _percent(near, lesion),
        lungs_peripheral_percent=math.nan if lungs.near is None else _percent(int(np.count_nonzero(lungs.near)), whole),
        mean_hu=float(found.hu[mine].mean()) if found.hu is not None and mine.any() else math.nan,
        unknown=unknown,
    )


def _percent(part: float, whole: float) -> float:
    """A share; NaN of nothing."""
    return 100 * float(part) / float(whole) if whole else math.nan


def _side(inside: NDArray[np.int64]) -> Side:
    """The lungs that have any of these voxels."""
    if inside[1]:
        return "both" if inside[2] else "right"
    return "left" if inside[2] else "none"


def _lungs(mask: NDArray[np.uint8] | None, steps: tuple[float, float, float]) -> _Lungs:
    """Count the voxels of each lung and find those near its surface."""
    nothing = _Lungs(None, np.zeros(3, np.int64), sided=False, near=None)
    if mask is None:
        return nothing
    voxels = np.array([0, *(np.count_nonzero(mask == value) for value in (1, 2))], np.int64)
    if not voxels.any():
        return nothing
    slab = (steps[0] if len(mask) > 1 else 1.0, *steps[1:])  # a single slice has no distance across
    near = near_surface(mask, slab) if all(math.isfinite(step) for step in slab) else None
    return _Lungs(mask, voxels, sided=bool(voxels[2]), near=near)


def _count_objects(
    lesion_mask: NDArray[np.uint8], where: NDArray[np.bool_], objects: NDArray[Any] | None
) -> tuple[int, int, int]:
    """Objects of ground glass, of consolidation, and of both together."""
    box = next(iter(find_objects(where.view(np.uint8))), None)
    if box is None:
        return 0, 0, 0
    own = lesion_mask[box]
    chosen = [own == 1, own == 2, own > 0]
    if objects is not None:
        numbers = [np.unique(objects[box][kind]) for kind in chosen]
        ground_glass, consolidation, every = (int(np.count_nonzero(number)) for number in numbers)
    else:
        ground_glass, consolidation, every = (_count_parts(kind) for kind in chosen)
    return ground_glass, consolidation, every


def _count_parts(mask: NDArray[np.bool_]) -> int:
    """Parts of a mask that hang together by 26 neighbours."""
    import SimpleITK  # takes a second to load

    make: Any = SimpleITK.ConnectedComponentImageFilter
    find = make()
    find.FullyConnectedOn()
    find.Execute(SimpleITK.GetImageFromArray(mask.view(np.uint8)))
    return int(find.GetObjectCount())


def _steps(spacing: Sequence[float] | None, depth: int) -> tuple[float, float, float]:
    """Spacing (d, h, w) in mm, NaN where it is unknown."""
    if spacing is None:
        return math.nan, math.nan, math.nan
    known = [float(step) for step in spacing]
    if len(known) == 2 and depth == 1:
        known = [math.nan, *known]
    if len(known) != 3 or any(step <= 0 or math.isinf(step) for step in known):
        raise InputError(
            f"The spacing {tuple(known)} does not fit {depth} slice(s) of a lesion mask: give (d, h, w) in mm, above "
            "0, NaN where it is unknown."
        )
    return known[0], known[1], known[2]


def _unknown(lungs: _Lungs, steps: tuple[float, float, float], hu: NDArray[Any] | None) -> tuple[str, ...]:
    """What is missing, in the words of :class:`LesionMeasures`."""
    words = []
    if any(math.isnan(step) for step in steps):
        single = lungs.near is not None or (lungs.mask is None and not any(math.isnan(step) for step in steps[1:]))
        words.append("thickness" if single else "spacing")
    if lungs.mask is None:
        words.append("lung_mask")
    elif not lungs.sided:
        words.append("sides")
    return (*words, "hu") if hu is None else tuple(words)


def _check(
    lesion_mask: NDArray[np.uint8],
    lung_mask: NDArray[np.uint8] | None,
    hu: NDArray[Any] | None,
    objects: NDArray[Any] | None,
) -> None:
    """Refuse arrays of another form."""
    for name, mask in (("lesion_mask", lesion_mask), ("lung_mask", lung_mask)):
        if mask is not None and (mask.ndim != 3 or mask.dtype != np.uint8 or (mask.size and mask.max() > 2)):
            raise InputError(
                f"{name} must be (D, H, W) uint8 of 0, 1 and 2, not {mask.dtype} of shape {mask.shape}: give the "
                "labels of one scan."
            )
    for name, array in (("lung_mask", lung_mask), ("hu", hu), ("objects", objects)):
        if array is not None and array.shape != lesion_mask.shape:
            raise InputError(
                f"{name} has shape {array.shape}, the lesion mask {lesion_mask.shape}: bring both to the grid of the "
                "scan."
            )
