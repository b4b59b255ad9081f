"""Read DICOM: a folder, an enhanced multi-frame file or a zip becomes a volume of known geometry, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import GeometryError, InputError, ModalityError
from covidct.io.acquisition import acquisition_of
from covidct.io.codecs import missing_codec, require_codec
from covidct.io.contrast import contrast_of
from covidct.io.dicom_choice import check_modality, choose_series
from covidct.io.dicom_faults import examine, stack_affine
from covidct.io.dicom_files import open_items
from covidct.io.dicom_pixels import encoded_pixels, read_hu
from covidct.io.dicom_series import Fault, Series, find_all, settle_faults
from covidct.io.faults import check_on_fault
from covidct.io.geometry import canonical_axes, straighten
from covidct.io.hu import AIR_HU, clean_hu, looks_like_hu
from covidct.io.info import SeriesInfo
from covidct.volume import Finding, Source, Volume

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.io.dicom_files import Item
    from covidct.io.dicom_slices import Slice
    from covidct.io.faults import OnFault
    from covidct.io.geometry import Stack

__all__ = ("dicom_info", "is_resampled", "read_dicom", "read_dicom_with_info", "usable_series")

_LEANING = frozenset({"gantry_tilt", "shifted_slices"})
_UNEVEN = frozenset({"missing_slices", "uneven_step"})


def dicom_info(path: str | os.PathLike[str]) -> list[SeriesInfo]:
    """Describe every DICOM series in a folder, zip or file from headers alone.

    Args:
        path: a folder (sub-folders too), a zip or a file.

    Returns:
        One entry per series, most slices first; empty when there is no DICOM. The action of a finding is what
        :func:`read_dicom` does when nothing else is asked for.

    Raises:
        InputError: when the path does not exist or a zip is unsafe.
    """
    with open_items(Path(path)) as items:
        found, loose = find_all(items)
        infos = []
        if loose and not found:
            nan = float("nan")
            findings = tuple(fault.finding("error") for fault in loose)
            infos.append(SeriesInfo("", "dicom", "", (0, 0, 0), (nan, nan, nan), (), findings))
        for index, series in enumerate(found):
            info = _stored(series)
            check_modality(series)
            if series.has_pixels:
                examine(series, _same_pixels)
            faults = [*series.faults, *(loose if index == 0 else ())]
            findings = tuple(fault.finding("error") for fault in faults)
            if series.slices and series.has_pixels and (missing := missing_codec(series.slices[0])):
                findings += (Finding("missing_codec", f"The pixels are {missing}.", "refused"),)
            infos.append(_examined(info, series, findings))
    return infos


def _stored(series: Series) -> SeriesInfo:
    """What a series is before it is examined, which leaves slices out."""
    shape = (len(series.slices), *series.slices[0].shape)
    nan = float("nan")
    return SeriesInfo(series.uid, "dicom", series.modality, shape, (nan, nan, nan), tuple(i.path for i in series.items))


def _examined(info: SeriesInfo, series: Series, findings: tuple[Finding, ...]) -> SeriesInfo:
    """The same with what the headers of the other slices say."""
    headers = [s.values for s in series.slices]
    contrast, basis = contrast_of(headers)
    kernel, scanner, acquired = acquisition_of(headers)
    return replace(
        info,
        spacing=_spacing(series),
        findings=findings,
        thickness=_thickness(series),
        contrast=contrast,
        contrast_basis=basis,
        kernel=kernel,
        scanner=scanner,
        acquired=acquired,
    )


def read_dicom(path: str | os.PathLike[str], *, series: str | None = None, on_fault: OnFault = "error") -> Volume:
    """Read one CT series onto the canonical LPS grid.

    Positions are projected on the slice normal; what is wrong becomes a named finding. ``"error"`` refuses all but
    reversed or shuffled names and byte-equal duplicates; ``"repair"`` resamples gaps, uneven steps and tilt and drops
    duplicates, localizers and single strays; ``"warn"`` takes the slices as they come, at their mean distance.
    HU below -1024 and declared padding become -1024 (air).

    Args:
        path: a folder (sub-folders too), a zip or a multi-frame file.
        series: SeriesInstanceUID, needed where there are several.
        on_fault: ``"error"``, ``"repair"`` or ``"warn"``.

    Returns:
        A volume of int16 where slope and intercept are whole and the values fit, else float32. ``source.affine`` is
        the grid of the stored slices, sheared where the gantry was tilted.

    Raises:
        GeometryError: wrong geometry that the policy does not allow.
        ModalityError: another kind of image than CT.
        CodecError: an unknown compression.
        InputError: damaged files, an unsafe zip, values that are no Hounsfield units.
    """
    return read_dicom_with_info(path, series=series, on_fault=on_fault)[0]


def read_dicom_with_info(
    path: str | os.PathLike[str], *, series: str | None = None, on_fault: OnFault = "error"
) -> tuple[Volume, SeriesInfo]:
    """:func:`read_dicom`, and what the headers of its series say, which are read once for both."""
    check_on_fault(on_fault)
    with open_items(Path(path)) as items:
        chosen, info, findings = usable_series(items, Path(path).name, series=series, on_fault=on_fault)
        require_codec(chosen.slices[0])
        return _volume(chosen, findings, on_fault), info


def usable_series(
    items: Sequence[Item], name: str, *, series: str | None, on_fault: OnFault
) -> tuple[Series, SeriesInfo, tuple[Finding, ...]]:
    """The series that a volume is made of, its slices in order along their normal, those that are left out gone.

    Args:
        items: see :func:`covidct.io.dicom_files.open_items`.
        name: of the input, for errors.
        series: as in :func:`read_dicom`.
        on_fault: as there.

    Returns:
        The series, what its headers say, and what was odd about it.

    Raises:
        InputError: as there, but for what the pixels tell.
    """
    found, loose = find_all(items)
    if not found:
        names = f" ({loose[0].message}: {loose[0].files})" if loose else ""
        raise InputError(
            f"There is no DICOM image in {name}{names}: give the folder of a CT series, or of its slices as pictures."
        )
    chosen, extra = choose_series(found, series)
    info = _stored(chosen)
    check_modality(chosen)
    examine(chosen, _same_pixels)
    if series is None:
        chosen.faults += loose
    chosen.faults[:0] = extra
    for fault in chosen.faults:
        if fault.code == "not_ct" and fault.action(on_fault) is None:
            raise ModalityError(f"{fault.message} (not_ct): give a CT series.")
    findings = settle_faults(chosen.faults, on_fault)
    return chosen, _examined(info, chosen, findings), findings


def _same_pixels(one: Slice, other: Slice) -> bool:
    """Compare the encoded bytes: listing series decodes nothing, and damaged pixels have bytes too."""
    forms = ("rows", "columns", "transfer_syntax", "bits_allocated", "signed", "samples")
    alike = all(one.values.get(form) == other.values.get(form) for form in forms)
    return alike and encoded_pixels(one) == encoded_pixels(other)


def _spacing(series: Series) -> tuple[float, float, float]:
    nan = float("nan")
    rows, columns = (series.slices[0].pixel_spacing if series.slices else None) or (nan, nan)
    return (series.stack.pitch if series.stack else nan), rows, columns


def _thickness(series: Series) -> float:
    """Nominal thickness of the thickest slice in mm, NaN when no header says."""
    stated = [s.values["thickness"][0] for s in series.slices if s.values.get("thickness")]
    return max((value for value in stated if np.isfinite(value) and value > 0), default=float("nan"))


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the slices become an even grid.

    Attributes:
        step: mm between slices of the source grid.
        resample: None to stack slices as they are, else the wanted heights.
        offsets: (n, 2) in-plane place in pixels, zero where the slices are in line.
    """

    step: float
    resample: NDArray[np.float64] | None
    offsets: NDArray[np.float64]


def is_resampled(series: Series, on_fault: OnFault) -> bool:
    """Whether the volume of a series holds voxels that were computed from those of its slices."""
    return on_fault == "repair" and bool({fault.code for fault in series.faults} & (_LEANING | _UNEVEN))


def _plan(series: Series, stack: Stack, on_fault: OnFault) -> _Plan:
    count = len(series.slices)
    span = float(stack.heights[-1] - stack.heights[0])
    if not is_resampled(series, on_fault):
        return _Plan(span / (count - 1), None, np.zeros((count, 2)))
    step = stack.pitch
    steps = int(span / step + 0.01)
    rows, columns = series.slices[0].pixel_spacing or (1.0, 1.0)
    leaning = bool({fault.code for fault in series.faults} & _LEANING)
    offsets = stack.offsets / (columns, rows) if leaning else np.zeros((count, 2))
    return _Plan(step, stack.heights[0] + step * np.arange(steps + 1), offsets)


def _volume(series: Series, findings: tuple[Finding, ...], on_fault: OnFault) -> Volume:
    stack = series.stack
    if stack is None:
        raise GeometryError("The series has no geometry: no volume can be made of it.", findings)
    plan = _plan(series, stack, on_fault)
    affine = stack_affine(series, plan.step)
    shape = (len(series.slices), *series.slices[0].shape)
    if plan.resample is None:
        axes = canonical_axes(affine)
        array = _read(series.slices, axes.shape(shape), axes.source)
        grid, source_shape = axes.affine(affine, shape), shape
    else:
        stored = _read(series.slices, shape, lambda view: view)
        upright, low = straighten(stored, stack.heights, plan.offsets, plan.resample)
        source_shape = (len(plan.resample), *shape[1:])
        straight = affine.copy()
        if plan.offsets.any():
            straight[:3, 2] = plan.step * np.cross(*np.reshape(series.slices[0].orientation or (), (2, 3)))
        straight[:3, 3] += straight[:3, :2] @ low
        axes = canonical_axes(straight)
        array = np.ascontiguousarray(axes.canonical(upright))
        grid = axes.affine(straight, upright.shape)
    if array.dtype.kind == "f":  # integers have no NaN, and their padding is air already
        array, cleaned = clean_hu(array, on_fault=on_fault)
        findings += cleaned
    findings += _settle_values(series, array, on_fault)
    return Volume(array, grid, series.modality, "hu", findings, Source("dicom", source_shape, affine))


def _read(slices: Sequence[Slice], shape: tuple[int, ...], view: Any) -> NDArray[Any]:  # noqa: ANN401 - a callable
    """Read into a new array of the wanted shape; ``view`` shows it in the order of the slices."""
    whole = all(float(v).is_integer() for s in slices for v in (s.slope or 1, s.intercept or 0))
    if whole:
        array = np.empty(shape, dtype=np.int16)
        if read_hu(slices, view(array)):
            return array
        del array
    array = np.empty(shape, dtype=np.float32)
    read_hu(slices, view(array))
    return array


def _settle_values(series: Series, array: NDArray[Any], on_fault: OnFault) -> tuple[Finding, ...]:
    """Refuse values that are no Hounsfield units; where the header does not vouch for them, padding does not count."""
    doubtful = {"missing_rescale", "missing_modality"} & {fault.code for fault in series.faults}
    sample = array[:: max(1, array.shape[0] // 64), ::2, ::2]
    if looks_like_hu(sample[sample > AIR_HU] if doubtful else sample):
        return ()
    low, high = int(array.min()), int(array.max())
    message = f"the values ({low} to {high}) are not the Hounsfield units of a body"
    if on_fault != "warn":
        raise InputError(f"T{message[1:]} (not_hu): give the original CT series, or pass on_fault='warn'.")
    return (Fault("not_hu", message).finding("warn"),)
