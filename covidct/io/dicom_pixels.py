"""Pixels of DICOM slices as Hounsfield units, decoded straight into the volume they belong to."""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import InputError
from covidct.io.codecs import NATIVE, plugin_for, require_codec
from covidct.io.codestream import check_codestream
from covidct.io.dicom_header import NO_PIXELS
from covidct.io.hu import AIR_HU

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from covidct.io.dicom_slices import Slice

__all__ = ("colour_values", "decode_frames", "encoded_pixels", "makes_hu", "read_hu", "stored_values")


def read_hu(slices: Sequence[Slice], out: NDArray[Any]) -> bool:
    """Decode slices into ``out`` as HU; padding and everything below -1024 HU becomes -1024.

    Args:
        slices: in the order of the first axis of ``out``.
        out: (n, rows, columns) int16 or float32, any strides; filled.

    Returns:
        False when ``out`` is int16 and a value does not fit: then start over with float32.

    Raises:
        CodecError: for an unknown compression.
        InputError: when pixels are damaged or missing, or the rescale slope is not positive.
    """
    rows = sorted(range(len(slices)), key=lambda k: (slices[k].item.path, slices[k].frame))
    for _, group in groupby(rows, key=lambda k: slices[k].item.path):
        indices = list(group)
        first = slices[indices[0]]
        if _is_plain(first):
            with first.item.open() as file:
                for k in indices:
                    target = out[k]
                    fits = out.dtype == np.int16 and target.flags.c_contiguous
                    stored = _read_plain(file, slices[k], target if fits else None)
                    if not _to_hu(stored, slices[k], target):
                        return False
            continue
        for k, stored in zip(indices, decode_frames([slices[k] for k in indices]), strict=True):
            if not _to_hu(stored, slices[k], out[k]):
                return False
    return True


def stored_values(slice_: Slice) -> NDArray[Any]:
    """Stored pixel values of one frame, before any rescale: (rows, columns) or (rows, columns, samples)."""
    if _is_plain(slice_):
        with slice_.item.open() as file:
            return _mask_bits(_read_plain(file, slice_, None), slice_)
    return next(decode_frames([slice_]))


def encoded_pixels(slice_: Slice) -> bytes:
    """Bytes of one frame as the file holds them: of the frame where it is uncompressed, else from the pixels on."""
    with slice_.item.open() as file:
        file.seek(max(int(slice_.values["pixel_offset"]), 0))
        if not _is_plain(slice_):
            return file.read()
        file.seek(slice_.frame * slice_.frame_bytes, 1)
        return file.read(slice_.frame_bytes)


def colour_values(slice_: Slice) -> NDArray[Any]:
    """RGB values (rows, columns, 3) of a colour image, converted from YBR or a palette where it is stored so.

    Raises:
        InputError: when the pixels are damaged or make no RGB image.
    """
    array = next(decode_frames([slice_], raw=False))
    if array.shape != (*slice_.shape, 3):
        raise InputError(f"The colour image {slice_.name} has the shape {array.shape}: save it as grey or RGB.")
    return array


def _is_plain(slice_: Slice) -> bool:
    values = slice_.values
    return (
        values.get("transfer_syntax") in NATIVE
        and values["pixel_offset"] != NO_PIXELS
        and values["pixel_length"] != 0xFFFFFFFF
        and values["pixel_kind"] == "integer"
        and values.get("bits_allocated") in (8, 16)
        and values.get("samples", 1) == 1
    )


def _dtype(slice_: Slice) -> np.dtype[Any]:
    signed = bool(slice_.values.get("signed", 0))
    return np.dtype(("<i" if signed else "<u") + str(slice_.values["bits_allocated"] // 8))


def _read_plain(file: Any, slice_: Slice, target: NDArray[np.int16] | None) -> NDArray[Any]:  # noqa: ANN401 - IO
    """Read a frame into ``target`` (when its form allows) or a new array; returns a view of the stored dtype."""
    dtype = _dtype(slice_)
    raw = target if target is not None and dtype.itemsize == 2 else np.empty(slice_.shape, dtype=dtype)
    view = memoryview(raw.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    file.seek(slice_.values["pixel_offset"] + slice_.frame * slice_.frame_bytes)
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise InputError(f"The file {slice_.name} is truncated: its pixel data ends early; copy it again.")
        done += count
    return raw.view(dtype)


def _mask_bits(stored: NDArray[Any], slice_: Slice) -> NDArray[Any]:
    """Take the stored bits out of the allocated ones (in place); the others may hold an overlay."""
    allocated = stored.dtype.itemsize * 8
    bits = int(slice_.values.get("bits_stored", allocated))
    if not 0 < bits <= allocated:
        raise InputError(f"The header of {slice_.name} is damaged: {bits} of {allocated} bits are said to be stored.")
    high = int(slice_.values.get("high_bit", bits - 1))
    if bits == allocated and high == bits - 1:
        return stored
    low, top = stored.min(), stored.max()
    limit = 1 << (bits - 1) if stored.dtype.kind == "i" else 1 << bits
    if high == bits - 1 and top < limit and low >= (-limit if stored.dtype.kind == "i" else 0):
        return stored
    if not bits - 1 <= high < allocated:
        raise InputError(f"The header of {slice_.name} is damaged: the high bit is {high} of {allocated}.")
    np.left_shift(stored, allocated - 1 - high, out=stored)
    np.right_shift(stored, allocated - bits, out=stored)
    return stored


def makes_hu(slice_: Slice) -> bool:
    """Whether the rescale of a slice, 1 and 0 where it has none, leads to CT numbers."""
    slope = 1.0 if slice_.slope is None else slice_.slope
    intercept = 0.0 if slice_.intercept is None else slice_.intercept
    return bool(np.isfinite(slope) and np.isfinite(intercept) and slope > 0)


def _to_hu(stored: NDArray[Any], slice_: Slice, out: NDArray[Any]) -> bool:
    """Apply the modality LUT to a frame; ``stored`` may share memory with ``out``. False when int16 cannot hold it."""
    slope = 1.0 if slice_.slope is None else slice_.slope
    intercept = 0.0 if slice_.intercept is None else slice_.intercept
    if not makes_hu(slice_):
        raise InputError(
            f"The rescale slope {slope:g} and intercept {intercept:g} of {slice_.name} make no CT numbers: the header "
            "is damaged, export the scan again."
        )
    if stored.shape != out.shape:
        raise InputError(f"The pixels of {slice_.name} have the shape {stored.shape}, not {out.shape}.")
    padded = _padded(stored, slice_)
    if _is_plain(slice_):
        stored = _mask_bits(stored, slice_)
    if out.dtype == np.int16:
        if not (slope.is_integer() and intercept.is_integer() and stored.dtype.kind in "iu"):
            return False
        if not _whole_hu(stored, int(slope), int(intercept), out):
            return False
    else:
        np.multiply(stored, np.float32(slope), out=out, casting="unsafe")
        out += np.float32(intercept)
        np.maximum(out, np.float32(AIR_HU), out=out)
    if padded is not None:
        out[padded] = AIR_HU
    return True


def _whole_hu(stored: NDArray[Any], slope: int, intercept: int, out: NDArray[np.int16]) -> bool:
    """The case of whole numbers: no temporary is made when ``stored`` shares memory with ``out``."""
    if int(stored.max()) * slope + intercept > 32767:
        return False
    least = -((AIR_HU - intercept) // -slope)  # the smallest stored value that is not below air
    info = np.iinfo(stored.dtype)
    if least > info.max:
        out[...] = AIR_HU
        return True
    if least > info.min:
        np.maximum(stored, stored.dtype.type(least), out=stored)
    if stored.itemsize == 2:  # the result fits int16, so that wrap-around in between cancels out (mod 2**16)
        result = stored.view(np.int16)
        if not np.shares_memory(result, out):
            out[...] = result
    else:
        out[...] = stored
    if slope != 1:
        np.multiply(out, np.array(slope).astype(np.int16), out=out)
    if intercept:
        np.add(out, np.array(intercept).astype(np.int16), out=out)
    return True


def _padded(stored: NDArray[Any], slice_: Slice) -> NDArray[np.bool_] | None:
    """Pixels that hold the declared padding value; looked for only where a corner of the slice holds it."""
    raw = slice_.values.get("padding")
    if raw is None or stored.dtype.kind not in "iu":
        return None
    bounds = []
    for value in (raw, slice_.values.get("padding_limit", raw)):
        signed = value - 65_536 if stored.dtype.kind == "i" and value > 32_767 else value
        bounds.append(signed)
    low, high = min(bounds), max(bounds)
    corners = stored[:: max(1, stored.shape[0] - 1), :: max(1, stored.shape[1] - 1)]
    if not ((corners >= low) & (corners <= high)).any():
        return None
    found: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return found


def decode_frames(slices: Sequence[Slice], *, raw: bool = True) -> Iterator[NDArray[Any]]:
    """Decode frames of one file with pydicom and its decoders.

    Args:
        slices: frames of the same file.
        raw: leave colour as it is stored.

    Yields:
        Stored values in the order of ``slices``.

    Raises:
        CodecError: for an unknown compression.
        InputError: when the pixels are damaged.
    """
    import pydicom
    from pydicom.pixels.decoders.base import get_decoder

    first = slices[0]
    require_codec(first)
    fault = first.fault()
    if fault:
        raise InputError(f"The file {first.item.name} cannot be read: {fault}; copy it again.")
    syntax = str(first.values["transfer_syntax"])
    with first.item.open() as file:
        content = file.read()
    try:
        with _quiet():
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            decoder = get_decoder(syntax)
            options: dict[str, Any] = {"raw": raw}
            if plugin := plugin_for(syntax):
                check_codestream(dataset, first)
                options["decoding_plugin"] = plugin
        for slice_ in slices:
            with _quiet():
                array, _ = decoder.as_array(dataset, index=slice_.frame if first.frames > 1 else None, **options)
            yield np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
    except InputError:
        raise
    except Exception as error:  # decoders raise what they like on damaged streams
        raise InputError(
            f"The pixels of {first.name} cannot be decoded: the file is damaged or of a rare form, copy it again."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back the decoders' warnings: what matters becomes an error or a finding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
