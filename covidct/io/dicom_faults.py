"""The faults of a DICOM series: what does not belong, what is there twice, what is missing or leaning."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from covidct.io.dicom_pixels import makes_hu
from covidct.io.dicom_series import Fault
from covidct.io.geometry import canonical_axes, stack_slices
from covidct.io.names import counted, natural_key

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from numpy.typing import NDArray

    from covidct.io.dicom_series import Action, Series
    from covidct.io.dicom_slices import Slice
    from covidct.io.geometry import Stack

__all__ = ("examine", "stack_affine")

_MOST_FILLED = 3
"""Adjacent slices that are interpolated over a gap; a wider one holds anatomy that nobody can guess."""


def examine(series: Series, same: Callable[[Slice, Slice], bool]) -> None:
    """Find what is wrong with a series; leaves in it the usable slices in order, their geometry and the faults.

    Args:
        series: changed.
        same: tells whether two slices have the same stored pixels, asked for duplicates only.
    """
    total = len(series.slices)
    _drop_unreadable(series)
    _drop_marked(series, "localizer", "localizers", lambda s: s.is_localizer)
    _drop_marked(series, "colour", "colour pictures", lambda s: s.is_colour)
    _drop_without_place(series)
    _keep_majority(series, "mixed_matrix", lambda s: s.shape, "matrix sizes", repair=None)
    _keep_majority(series, "mixed_orientation", _rounded_orientation, "orientations", repair="dropped")
    _keep_majority(series, "mixed_spacing", _rounded_spacing, "pixel spacings", repair=None)
    _drop_same_instance(series, same)
    if len(series.slices) >= 2:
        _order(series)
        _drop_same_place(series, same)
    if len(series.slices) < 3:
        count = len(series.slices)
        usable = counted(count, "slice", "slices") if count == total else f"{count} usable of {total} slices"
        message = f"the series has {usable}, a volume needs at least 3"
        series.faults.append(Fault("too_few_slices", message, warn=None))
        series.stack = None
        return
    _order(series)
    _check_stack(series)
    _check_order(series)
    _check_values(series)


def _drop_unreadable(series: Series) -> None:
    kept = []
    why: dict[str, list[str]] = {}
    for slice_ in series.slices:
        fault = slice_.fault()
        if fault is None:
            kept.append(slice_)
        elif slice_.frame == 0:
            why.setdefault(fault, []).append(slice_.item.name)
    for fault, names in why.items():
        message = f"{counted(len(names), 'file', 'files')} cannot be used: {fault}"
        series.faults.append(Fault("unreadable_file", message, names[0], repair="dropped", warn="dropped"))
    series.slices = kept


def _drop_marked(series: Series, code: str, what: str, marked: Callable[[Slice], bool]) -> None:
    """Drop slices whose header says that they are none."""
    strays = [s for s in series.slices if marked(s)]
    if strays:
        message = f"{what} in the series: {len(strays)} of {len(series.slices)} slices"
        series.faults.append(Fault(code, message, strays[0].name, repair="dropped", warn="dropped"))
        series.slices = [s for s in series.slices if not marked(s)]


def _drop_without_place(series: Series) -> None:
    placed = [s for s in series.slices if None not in (s.position, s.orientation, s.pixel_spacing)]
    if len(placed) < len(series.slices):
        first = next(s for s in series.slices if None in (s.position, s.orientation, s.pixel_spacing))
        count = len(series.slices)
        message = f"no valid position, orientation or pixel spacing in {count - len(placed)} of {count} slices"
        series.faults.append(Fault("missing_geometry", message, first.name, warn="dropped"))
        series.slices = placed


def _keep_majority(
    series: Series, code: str, key: Callable[[Slice], Hashable], what: str, *, repair: Action | None
) -> None:
    counts = Counter(key(s) for s in series.slices)
    if len(counts) < 2:
        return
    (most, count), *others = counts.most_common()
    minority = len(series.slices) - count
    if minority * 10 > len(series.slices):  # no clear majority: then nobody knows which slices are meant
        repair = None
    listed = ", ".join(f"{counted(n, 'slice', 'slices')} of {_text(k)}" for k, n in [(most, count), *others[:3]])
    series.faults.append(Fault(code, f"the series mixes {what}: {listed}", repair=repair, warn="dropped"))
    series.slices = [s for s in series.slices if key(s) == most]


def _text(key: Hashable) -> str:
    return " x ".join(f"{v:g}" for v in key) if isinstance(key, tuple) else str(key)


def _rounded_orientation(slice_: Slice) -> Hashable:
    return tuple(round(v, 2) + 0.0 for v in slice_.orientation or ())


def _rounded_spacing(slice_: Slice) -> Hashable:
    return tuple(round(v, 3) for v in slice_.pixel_spacing or ())


def _drop_same_instance(series: Series, same: Callable[[Slice, Slice], bool]) -> None:
    first: dict[Hashable, Slice] = {}
    equal: list[Slice] = []
    unlike: list[Slice] = []
    for slice_ in series.slices:
        uid = slice_.values.get("sop_uid")
        known = first.setdefault((uid, slice_.frame) if uid else id(slice_), slice_)
        if known is not slice_:
            is_equal = slice_.position == known.position and same(slice_, known)
            (equal if is_equal else unlike).append(slice_)
    if equal:
        message = f"{counted(len(equal), 'slice is', 'slices are')} there twice with equal pixels"
        series.faults.append(Fault("duplicate_instance", message, equal[0].name, harmless="dropped"))
    if unlike:
        carry = counted(len(unlike), "slice carries", "slices carry")
        message = f"{carry} the SOP instance UID of another slice, but other pixels or another place"
        series.faults.append(Fault("duplicate_instance", message, unlike[0].name, repair="dropped", warn="dropped"))
    dropped = {id(s) for s in (*equal, *unlike)}
    series.slices = [s for s in series.slices if id(s) not in dropped]


def _drop_same_place(series: Series, same: Callable[[Slice, Slice], bool]) -> None:
    stack = series.stack
    if stack is None:
        return
    kept, doubles = [series.slices[0]], []
    tolerance = max(0.01 * stack.step, 0.01)
    height = stack.heights[0]
    for slice_, own in zip(series.slices[1:], stack.heights[1:], strict=True):
        if own - height <= tolerance:
            doubles.append((slice_, kept[-1]))
        else:
            kept.append(slice_)
            height = own
    if not doubles:
        return
    unlike = sum(not same(a, b) for a, b in doubles)
    message = f"slices that lie where another one lies: {len(doubles)} of {len(series.slices)}, "
    message += f"{unlike or 'none'} of them with other pixels"
    files = f"{doubles[0][0].name} and {doubles[0][1].name}"
    clear = unlike * 10 <= len(kept)  # many unlike ones are a second scan of the same place
    repair: Action | None = "dropped" if clear else None
    series.faults.append(Fault("duplicate_position", message, files, repair=repair, warn="dropped"))
    series.slices = kept


def _order(series: Series) -> None:
    positions = np.array([s.position for s in series.slices])
    orientation = np.median([s.orientation or () for s in series.slices], axis=0)
    series.stack = stack_slices(positions, orientation)
    series.slices = [series.slices[k] for k in series.stack.order]


def stack_affine(series: Series, step: float) -> NDArray[np.float64]:
    """Affine (4, 4) of the slices as they lie, voxel (i, j, k) to LPS mm, k in order along the normal.

    Args:
        series: with its stack.
        step: mm between slices along the normal.
    """
    stack = series.stack
    if stack is None:
        return np.full((4, 4), np.nan)
    first = series.slices[0]
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])  # type: ignore[index]
    down, right = first.pixel_spacing  # type: ignore[misc]
    affine = np.eye(4)
    affine[:3, 0] = row * right
    affine[:3, 1] = column * down
    affine[:3, 2] = step * (np.cross(row, column) + stack.lean[0] * row + stack.lean[1] * column)
    affine[:3, 3] = first.position
    return affine


def _check_stack(series: Series) -> None:
    """Gaps, uneven steps, tilt and slices out of line."""
    stack = series.stack
    if stack is None:
        return
    close = bool(stack.steps.max() < (_MOST_FILLED + 1.5) * stack.step)
    gaps = stack.multiples[stack.multiples > 1]
    if len(gaps):
        k = int(np.argmax(stack.multiples > 1))
        message = (
            f"{counted(int((gaps - 1).sum()), 'slice is', 'slices are')} missing in "
            f"{counted(len(gaps), 'place', 'places')}, the first between {stack.heights[k]:.2f} and "
            f"{stack.heights[k + 1]:.2f} mm at a step of {stack.step:g} mm"
        )
        series.faults.append(Fault("missing_slices", message, repair="repaired" if close else None))
    uneven = stack.steps[stack.multiples == 0]
    if len(uneven):
        message = (
            f"steps between slices that are not {stack.step:g} mm: {len(uneven)} of {len(stack.steps)} "
            f"({stack.steps.min():.3f} to {stack.steps.max():.3f} mm)"
        )
        series.faults.append(Fault("uneven_step", message, repair="repaired" if close else None))
    _check_line(series, stack)


def _check_line(series: Series, stack: Stack) -> None:
    """Tilt, and slices out of line. What lies further off than a slice is wide is a damaged header, not a tilt."""
    spacing = np.array(series.slices[0].pixel_spacing or (1.0, 1.0))
    limit = float(spacing.min()) / 2  # less than half a pixel over the whole scan is no tilt
    extent = (spacing * series.slices[0].shape)[::-1]  # along (columns, rows), as the offsets
    repair: Action | None = "repaired" if (np.ptp(stack.offsets, axis=0) <= extent).all() else None
    if stack.drift > limit:
        message = f"the slices lean by {stack.tilt:.2f} degrees ({stack.drift:.1f} mm over the scan), a gantry tilt"
        series.faults.append(Fault("gantry_tilt", message, repair=repair))
    if stack.wander > limit:
        message = f"slices lie up to {stack.wander:.2f} mm beside the line of the others"
        series.faults.append(Fault("shifted_slices", message, repair=repair))


def _check_order(series: Series) -> None:
    """Whether file names, or else instance numbers, run along the body axis of the canonical grid."""
    row, column = np.reshape(series.slices[0].orientation or (), (2, 3))
    upright = np.eye(4)  # how the slices lean says nothing of the way they run
    upright[:3, :3] = np.stack([row, column, np.cross(row, column)], axis=1)
    axes = canonical_axes(upright)
    slices = series.slices[::-1] if axes.flip[axes.order.index(2)] else series.slices
    names = [natural_key(str(s.item.path)) for s in slices]
    numbers = [s.values.get("number") for s in slices]
    for what, keys in (("names", names), ("numbers", numbers)):
        if any(k is None for k in keys) or any(a == b for a, b in pairwise(keys)):
            continue
        up = [a < b for a, b in pairwise(keys)]  # type: ignore[operator]
        label = "file names" if what == "names" else "instance numbers"
        if not any(up):
            message = f"the {label} run against the body axis; the slices were sorted by place"
            series.faults.append(Fault(f"reversed_{what}", message, harmless="sorted"))
            return
        if not all(up):
            message = f"the {label} are out of order; the slices were sorted by place"
            series.faults.append(Fault(f"shuffled_{what}", message, harmless="sorted"))
            return


def _check_values(series: Series) -> None:
    """What the header says of the kind of values."""
    count = len(series.slices)
    bare = sum(s.slope is None or s.intercept is None for s in series.slices)
    if bare:
        message = f"no rescale slope and intercept in {bare} of {count} slices"
        repair: Action | None = "recorded" if bare == count else None  # some with, some without: two scales in a volume
        series.faults.append(Fault("missing_rescale", message, repair=repair))
    useless = [s for s in series.slices if not makes_hu(s)]
    if useless:
        message = f"a rescale slope of {useless[0].slope:g} in {len(useless)} of {count} slices makes no CT numbers"
        series.faults.append(Fault("invalid_rescale", message, useless[0].name, warn=None))
    if not series.modality:
        message = "the file does not name its modality; the values decide whether it is a CT"
        series.faults.append(Fault("missing_modality", message, harmless="recorded"))
