"""What a compressed image says of its own size, before a decoder believes it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from covidct.errors import InputError

if TYPE_CHECKING:
    from covidct.io.dicom_slices import Slice

__all__ = ("check_codestream", "codestream_size")

_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})


def codestream_size(stream: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, components) in the header of a JPEG, JPEG-LS or JPEG 2000 image; None when there is none."""
    start = stream.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start >= 0 and len(stream) >= start + 42:
        x1, y1, x0, y0 = struct.unpack_from(">IIII", stream, start + 8)
        return y1 - y0, x1 - x0, struct.unpack_from(">H", stream, start + 40)[0]
    position = 2
    while stream[:2] == b"\xff\xd8" and position + 10 <= len(stream):
        if stream[position] != 0xFF:
            return None
        marker, length = stream[position + 1], struct.unpack_from(">H", stream, position + 2)[0]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _SOF:
            rows, columns, components = struct.unpack_from(">HHB", stream, position + 5)
            return rows, columns, components
        position += 2 + length
    return None


def check_codestream(dataset: Any, slice_: Slice) -> None:  # noqa: ANN401 - pydicom has no types
    """Refuse a compressed image whose own header contradicts the DICOM header.

    A decoder allocates what the stream claims; one that claims 65535 x 65535 would take the machine down.

    Args:
        dataset: with PixelData.
        slice_: its header.

    Raises:
        InputError: when sizes differ, or the stream has no header.
    """
    syntax = str(slice_.values["transfer_syntax"])
    if syntax == "1.2.840.10008.1.2.5":
        _check_rle(dataset, slice_)
        return
    wanted = (*slice_.shape, int(slice_.values.get("samples", 1)))
    from pydicom.encaps import generate_frames

    for frame in generate_frames(dataset.PixelData, number_of_frames=slice_.frames):
        found = codestream_size(frame)
        if found != wanted:
            raise InputError(
                f"The compressed image in {slice_.item.name} says (rows, columns, samples) = {found}, its header "
                f"{wanted}: the file is damaged, copy it again."
            )


def _check_rle(dataset: Any, slice_: Slice) -> None:  # noqa: ANN401 - pydicom has no types
    """Refuse run-length data whose table of segments (PS3.5 G.5) contradicts the header or the frame."""
    from pydicom.encaps import generate_frames

    planes = int(slice_.values.get("samples", 1)) * int(slice_.values.get("bits_allocated", 16)) // 8
    for frame in generate_frames(dataset.PixelData, number_of_frames=slice_.frames):
        count, *starts = struct.unpack_from("<16I", frame) if len(frame) >= 64 else (0,)
        ends = [*starts[1:count], len(frame)]
        if count != planes or any(not 64 <= a < b for a, b in zip(starts[:count], ends, strict=True)):
            raise InputError(f"The run-length table of {slice_.item.name} is damaged: copy the file again.")
