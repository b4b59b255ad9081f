"""One DICOM X-ray or slice as a picture: modality LUT, VOI LUT or window, inversion, in the order of the standard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import InputError, ModalityError
from covidct.io.dicom_files import Item
from covidct.io.dicom_pixels import colour_values, stored_values
from covidct.io.dicom_slices import header_dataset, read_slices, typed_value
from covidct.volume import Finding, Image

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from covidct.io.dicom_slices import Slice

__all__ = ("read_dicom_image",)

_SPACINGS = (0x00280030, 0x00181164, 0x00182010)  # at the patient, at the detector, of a scanned film
_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_CENTER, _WIDTH, _FUNCTION = 0x00281050, 0x00281051, 0x00281056
_TAGS = [*_SPACINGS, _MODALITY_LUT, _VOI_LUT, _CENTER, _WIDTH, _FUNCTION, 0x00281052, 0x00281053, 0x00280103]


def read_dicom_image(path: str | os.PathLike[str]) -> Image:
    """Read a single-frame DICOM object as a picture.

    Grey values go through the modality LUT (or rescale), then the VOI LUT or the first window (linear, linear exact
    or sigmoid; PS3.3 C.11.2), and MONOCHROME1 is inverted last. Without VOI LUT or window, 8-bit images are divided by
    255 and deeper ones are stretched from their least to their greatest value, declared padding left out. ``steps``
    says which of these ran. Padding becomes 0.

    Args:
        path: the file.

    Returns:
        Grey (H, W), or (H, W, 3) for colour whose channels differ; float32 in [0, 1], dense bright.

    Raises:
        ModalityError: for objects without pixels and for multi-frame ones.
        CodecError: for an unknown compression.
        InputError: when the file is no DICOM file or damaged.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"There is no file {file}: check the path.")
    slices = read_slices(Item(file, file.stat().st_size))
    if not slices:
        raise InputError(f"The file {file.name} is no DICOM image.")
    picture = slices[0]
    if not picture.shape[0]:
        raise ModalityError(
            f"The file {file.name} is DICOM ({picture.modality or 'no modality'}) without image pixels."
        )
    if len(slices) > 1 or picture.frames > 1:
        raise ModalityError(f"The file {file.name} holds {picture.frames} frames: read it as a scan.")
    fault = picture.fault()
    if fault:
        raise InputError(f"The file {file.name} cannot be read: {fault}; copy it again.")
    dataset = header_dataset(picture.item, _TAGS)
    spacing = _spacing(dataset)
    if picture.is_colour:
        return _colour(picture, spacing)
    array, steps, findings = _grey(picture, dataset)
    return Image(array, spacing, picture.modality, tuple(steps), tuple(findings))


def _colour(picture: Slice, spacing: tuple[float, float]) -> Image:
    colours = colour_values(picture)
    scale = np.float32(255 if colours.dtype.itemsize == 1 else 2 ** int(picture.values.get("bits_stored", 16)) - 1)
    array = np.clip(colours.astype(np.float32) / scale, 0, 1)
    steps = [f"divided by {scale:g}"]
    if (colours == colours[..., :1]).all():
        array, steps = np.ascontiguousarray(array[..., 0]), [*steps, "equal colour channels made one"]
    return Image(array, spacing, picture.modality, tuple(steps))


def _grey(picture: Slice, dataset: Any) -> tuple[NDArray[np.float32], list[str], list[Finding]]:  # noqa: ANN401
    stored = stored_values(picture)
    if stored.ndim != 2 or stored.shape != picture.shape:
        raise InputError(f"The pixels of {picture.name} have the shape {stored.shape}: the file is damaged.")
    padded = _padding(stored, picture)
    values, steps = _modality(stored, picture, dataset)
    if not np.isfinite(values).all():
        raise InputError(f"The file {picture.name} holds pixels that are no finite numbers: export it again.")
    result, step, findings = _display(values, padded, picture, dataset)
    steps.append(step)
    if picture.values.get("photometric") == "MONOCHROME1":
        result = 1 - result
        steps.append("inverted (MONOCHROME1)")
    picture_values = result.astype(np.float32)
    if padded.any():
        picture_values[padded] = 0
        steps.append("padding set to 0")
    return picture_values, steps, findings


def _padding(stored: NDArray[Any], picture: Slice) -> NDArray[np.bool_]:
    value = picture.values.get("padding")
    if value is None or stored.dtype.kind not in "iu":
        return np.zeros(stored.shape, dtype=bool)
    limit = picture.values.get("padding_limit", value)
    if stored.dtype.kind == "i":
        value, limit = (v - 65_536 if v > 32_767 else v for v in (value, limit))
    found: NDArray[np.bool_] = (stored >= min(value, limit)) & (stored <= max(value, limit))
    return found if not found.all() else np.zeros(stored.shape, dtype=bool)


def _modality(stored: NDArray[Any], picture: Slice, dataset: Any) -> tuple[NDArray[Any], list[str]]:  # noqa: ANN401
    if _MODALITY_LUT in dataset and len(dataset[_MODALITY_LUT].value):
        return _look_up(dataset[_MODALITY_LUT], stored, picture)[0], ["modality LUT"]
    if picture.slope is None or picture.intercept is None:
        return stored, []
    if not (np.isfinite(picture.slope) and np.isfinite(picture.intercept) and picture.slope != 0):
        raise InputError(f"The rescale slope {picture.slope:g} of {picture.name} is no factor: the header is damaged.")
    if picture.slope == 1 and picture.intercept == 0:
        return stored, []
    scaled = stored.astype(np.float64) * picture.slope + picture.intercept
    return scaled, [f"rescale by {picture.slope:g} and {picture.intercept:g}"]


def _look_up(sequence: Any, values: NDArray[Any], picture: Slice) -> tuple[NDArray[np.float64], int]:  # noqa: ANN401
    """Send whole values through the first table of a LUT sequence (PS3.3 C.11.1.1.1); also its greatest output.

    Own code, since pydicom reads modality tables of 8 and 16 bits only.
    """
    try:
        table = sequence.value[0]
        count, first, bits = (int(v) for v in table[0x00283002].value)
        data = table[0x00283006].value
        count = count or 65_536  # the element holds 16 bits
        if isinstance(data, bytes):
            data = np.frombuffer(data, "<u2" if len(data) >= 2 * count else "u1")
        entries = np.asarray(data, dtype=np.float64)[:count]
    except Exception as error:  # tables are damaged in many ways
        raise InputError(f"A look-up table of {picture.name} is damaged: export the image again.") from error
    if len(entries) < count or not 8 <= bits <= 16:
        raise InputError(f"A look-up table of {picture.name} is too short or has {bits} bits: export the image again.")
    if first > 32_767 and float(values.min()) < 0:
        first -= 65_536  # stored unsigned beside signed pixels
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, count - 1)
    return entries[index], 2**bits - 1


def _display(
    values: NDArray[Any],
    padded: NDArray[np.bool_],
    picture: Slice,
    dataset: Any,  # noqa: ANN401 - pydicom has no types
) -> tuple[NDArray[np.float64], str, list[Finding]]:
    """VOI LUT, window or stretch to [0, 1]."""
    if _VOI_LUT in dataset and len(dataset[_VOI_LUT].value):
        table, top = _look_up(dataset[_VOI_LUT], values, picture)
        return np.clip(table / top, 0, 1), "VOI LUT", []
    window = _window(dataset)
    if window is not None:
        centre, width, function = window
        if function == "SIGMOID" and width > 0:
            return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))), _named(*window), []
        if function == "LINEAR_EXACT" and width > 0:
            return np.clip((values - centre) / width + 0.5, 0, 1), _named(*window), []
        if function == "LINEAR" and width > 1:
            return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1), _named(*window), []
    findings = []
    if window is not None:
        message = f"The window (centre {window[0]:g}, width {window[1]:g}, {window[2]}) is invalid and was left out."
        findings.append(Finding("invalid_window", message))
    bits = int(picture.values.get("bits_stored", 16))
    if bits <= 8 and values.dtype == np.uint8:
        return values / (2**bits - 1), f"divided by {2**bits - 1}", findings
    low, high = float(values[~padded].min()), float(values[~padded].max())
    if high <= low:
        findings.append(Finding("flat_image", f"All pixels have the same value {low:g}."))
    stretched = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return stretched, f"stretched from {low:g} to {high:g}", findings


def _window(dataset: Any) -> tuple[float, float, str] | None:  # noqa: ANN401 - pydicom has no types
    """(centre, width, function) of the first window; None when there is none."""
    try:
        centre, width = (float(np.atleast_1d(dataset[tag].value)[0]) for tag in (_CENTER, _WIDTH))
        function = str(dataset[_FUNCTION].value or "LINEAR") if _FUNCTION in dataset else "LINEAR"
    except Exception:  # absent, empty or malformed
        return None
    return (centre, width, function) if np.isfinite(centre) and np.isfinite(width) else None


def _named(centre: float, width: float, function: str) -> str:
    return f"window {centre:g}/{width:g} {function}"


def _spacing(dataset: Any) -> tuple[float, float]:  # noqa: ANN401 - pydicom has no types
    for tag in _SPACINGS:
        spacing = typed_value(dataset, tag, "floats")
        if spacing is not None and len(spacing) == 2 and np.isfinite(spacing).all() and min(spacing) > 0:
            return spacing[0], spacing[1]
    return float("nan"), float("nan")
