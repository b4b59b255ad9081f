"""The numbers of a CT: compact storage, padding outside the field of view, the test for Hounsfield units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import InputError
from covidct.io.faults import OnFault, settle
from covidct.io.names import counted
from covidct.volume import Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.volume import Intensity

__all__ = ("AIR_HU", "clean_hu", "looks_like_hu", "rescale", "settle_intensity")

AIR_HU = -1024
"""What stands outside the field of view: the least value of the 12-bit CT number scale (0 - 1024)."""

_INT16 = np.iinfo(np.int16)
_SAMPLES = 2_000_000  # voxels that looks_like_hu looks at, evenly spread: keeps it to milliseconds
_AIR_RANGE = (-1100.0, -400.0)  # lung, gut and the air around the body, noise included
_TISSUE_RANGE = (-250.0, 300.0)  # fat, water, blood, muscle and contrast in vessels
_LEAST_SHARE = 0.001  # of the voxels inside the field of view, for each of the two ranges


def rescale(stored: NDArray[Any], slope: float = 1.0, intercept: float = 0.0) -> NDArray[Any]:
    """Turn stored values into ``stored * slope + intercept``, as int16 where that loses nothing.

    Args:
        stored: integers or floats of any width and byte order; may be changed in place when it is writable int16.
        slope: factor; a slope of 1, or another whole number, keeps integers.
        intercept: summand.

    Returns:
        int16 where ``stored``, slope and intercept are whole and the result fits, else float32.
    """
    whole = stored.dtype.kind in "biu" and float(slope).is_integer() and float(intercept).is_integer()
    if whole:
        low, high = int(stored.min()), int(stored.max())
        ends = sorted((low * int(slope) + int(intercept), high * int(slope) + int(intercept)))
        if _INT16.min <= ends[0] and ends[1] <= _INT16.max:
            return _rescale_whole(stored, int(slope), int(intercept))
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what leaves the range of float32 becomes inf, which clean_hu sees
        if slope == 1 and intercept == 0:
            return stored.astype(np.float32)
        exact: NDArray[Any] = np.multiply(stored, slope, dtype=np.float64 if stored.dtype.itemsize > 2 else np.float32)
        np.add(exact, intercept, out=exact)
        return exact.astype(np.float32)


def _rescale_whole(stored: NDArray[Any], slope: int, intercept: int) -> NDArray[np.int16]:
    """The whole-number case, whose result is known to fit int16; wrap-around in between cancels out (mod 2**16)."""
    in_place = stored.dtype == np.int16 and stored.dtype.isnative and stored.flags.writeable
    out: NDArray[np.int16] = stored if in_place else stored.astype(np.int16)
    if slope != 1:
        np.multiply(out, np.array(slope).astype(np.int16), out=out)
    if intercept != 0:
        np.add(out, np.array(intercept).astype(np.int16), out=out)
    return out


def clean_hu(array: NDArray[Any], *, on_fault: OnFault = "error") -> tuple[NDArray[Any], tuple[Finding, ...]]:
    """Make everything outside the field of view air.

    Values under -1024 HU are padding (-2000, -2048, -3024) or spline overshoot and become -1024. Values that are not
    finite become -1024 where they lie outside the field of view, that is, where they touch the border of their axial
    slice; inside the patient they mean a damaged file.

    Args:
        array: (D, H, W) int16 or float32 on the canonical grid, in HU; changed in place when it is writable.
        on_fault: ``"error"`` refuses non-finite values inside the field of view; ``"repair"`` and ``"warn"`` make
            them air too, and record it.

    Returns:
        The array, all finite and >= -1024, and the findings (``"padding"``, ``"not_finite"``).

    Raises:
        InputError: when no value is finite, or for non-finite values inside the field of view under ``"error"``.
    """
    out = array if array.flags.writeable else array.copy()
    findings: list[Finding] = []
    if out.dtype.kind == "f" and not np.isfinite(out.sum(dtype=np.float64)):
        findings += _clean_non_finite(out, on_fault)
    lowest = out.min()
    if lowest < AIR_HU:
        message = f"Values down to {lowest:g} HU (padding outside the field of view) became {AIR_HU} HU."
        findings.append(Finding("padding", message, "repaired"))
        np.maximum(out, out.dtype.type(AIR_HU), out=out)
    return out, tuple(findings)


def _clean_non_finite(array: NDArray[Any], on_fault: OnFault) -> list[Finding]:
    bad = ~np.isfinite(array)
    count = int(np.count_nonzero(bad))
    if count == array.size:
        raise InputError("Not one voxel is a finite number: the file is damaged, export it again.")
    inside = sum(_enclosed(bad[i]) for i in np.flatnonzero(bad.any(axis=(1, 2))))
    findings = []
    if inside:
        message = f"values that are no finite numbers inside the field of view: {counted(inside, 'voxel', 'voxels')}"
        findings.append(settle("not_finite", message, f"made {AIR_HU} HU", on_fault=on_fault))
    if count > inside:
        message = f"{counted(count - inside, 'voxel', 'voxels')} without a finite value outside the field of view "
        message += f"became {AIR_HU} HU."
        findings.append(Finding("padding", message, "repaired"))
    array[bad] = AIR_HU
    return findings


def _enclosed(bad: NDArray[np.bool_]) -> int:
    """Number of marked pixels of a slice that do not hang together with marked pixels at its border."""
    from scipy import ndimage  # only where it is needed: most scans have none

    labels, _ = ndimage.label(bad)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return int(np.count_nonzero(~np.isin(labels, border) & bad))


def looks_like_hu(array: NDArray[Any]) -> bool:
    """Tell whether values can be Hounsfield units of a body, from the values alone.

    The rule: of the finite values above -1100, at least 0.1 % lie in [-1100, -400] (air, lung) and at least 0.1 % in
    [-250, 300] (fat to contrast-filled blood). Images scaled to [0, 1], [-1, 1] or 0..255, z-scores, stored values
    without their rescale (air at 0), MR and X-rays fail it: none of them has values near -1000 beside values near 0.
    Our own rule; checked on the real scans of the tests, none of which it refuses.

    Args:
        array: values of any shape and numeric dtype.
    """
    step = max(1, int(np.ceil((array.size / _SAMPLES) ** (1 / max(1, array.ndim)))))
    sample = array[(slice(None, None, step),) * array.ndim]
    inside = sample[sample >= _AIR_RANGE[0]]  # NaN compares false
    inside = inside[np.isfinite(inside)]
    if inside.size == 0:
        return False
    air = np.count_nonzero(inside <= _AIR_RANGE[1])
    tissue = np.count_nonzero((inside >= _TISSUE_RANGE[0]) & (inside <= _TISSUE_RANGE[1]))
    return bool(min(air, tissue) >= _LEAST_SHARE * inside.size)


def settle_intensity(
    array: NDArray[Any], *, stored: np.dtype[Any], on_fault: OnFault
) -> tuple[NDArray[Any], Intensity, tuple[Finding, ...]]:
    """Decide what the values of a file without a modality are (NIfTI, NRRD, MetaImage).

    Values that :func:`looks_like_hu` are Hounsfield units and are cleaned. Anything else is the finding ``"not_hu"``:
    refused under ``"error"``. Under ``"repair"`` and ``"warn"`` values in [0, 1], and 8-bit files (divided by 255),
    are read as display values (``"unit"``); the rest is refused under ``"repair"`` and taken as HU under ``"warn"``.

    Args:
        array: (D, H, W) int16 or float32 on the canonical grid; changed in place when it is writable.
        stored: dtype of the values in the file.
        on_fault: see above.

    Returns:
        The array, ``"hu"`` or ``"unit"``, and the findings.

    Raises:
        InputError: see above, and see :func:`clean_hu`.
    """
    if looks_like_hu(array):
        cleaned, findings = clean_hu(array, on_fault=on_fault)
        return cleaned, "hu", findings
    if array.dtype.kind == "f" and not np.isfinite(array).any():
        raise InputError("Not one voxel is a finite number: the file is damaged, export it again.")
    finite = array if array.dtype.kind != "f" else array[np.isfinite(array)]
    low, high = float(finite.min()), float(finite.max())
    message = f"the values ({low:g} to {high:g}) are not Hounsfield units of a body"
    unit = low >= 0 and (high <= 1 or stored == np.uint8)
    if on_fault == "error" or (on_fault == "repair" and not unit):
        settle(
            "not_hu", message, "", on_fault="error", hint="give the scan in HU, as the scanner or its archive holds it"
        )
    if not unit:
        finding = settle("not_hu", message, "taken as HU as they are", on_fault="warn")
        cleaned, findings = clean_hu(array, on_fault=on_fault)
        return cleaned, "hu", (finding, *findings)
    scale = np.float32(1 if high <= 1 else 255)
    display = np.nan_to_num(array.astype(np.float32) / scale, nan=0.0, posinf=1.0, neginf=0.0)
    return display, "unit", (settle("not_hu", message, "read as display values in [0, 1]", on_fault=on_fault),)
