"""A minimal reader of DICOM headers: what geometry, pixels and the choice of scans need, nothing of the patient.

Walking over the elements of a little-endian file is several times faster than building a data set; whatever is
unusual (big endian, deflated, elements out of order, wrong VR) is left to pydicom.
"""

from __future__ import annotations

import struct
from typing import IO, Any

__all__ = ("CONTRAST_SEQUENCE", "ELEMENTS", "NO_PIXELS", "OddHeaderError", "looks_like_dicom", "walk_header")

NO_PIXELS = -1
"""``pixel_offset`` of an object without pixel data, or whose place in the file only pydicom knows."""

ELEMENTS: dict[int, tuple[str, str]] = {
    0x00020002: ("media_class", "text"),
    0x00020010: ("transfer_syntax", "text"),
    0x00080008: ("image_type", "text"),
    0x00080018: ("sop_uid", "text"),
    0x00080022: ("acquisition_date", "text"),
    0x0008002A: ("acquisition_time", "text"),
    0x00080060: ("modality", "text"),
    0x00080070: ("manufacturer", "text"),
    0x0008103E: ("series_description", "text"),
    0x00081090: ("model", "text"),
    0x00180010: ("contrast_agent", "text"),
    0x00180050: ("thickness", "floats"),
    0x00181030: ("protocol", "text"),
    0x00181041: ("contrast_volume", "floats"),
    0x00181210: ("kernel", "text"),
    0x0020000E: ("series_uid", "text"),
    0x00200012: ("acquisition", "integer"),
    0x00200013: ("number", "integer"),
    0x00200032: ("position", "floats"),
    0x00200037: ("orientation", "floats"),
    0x00200100: ("temporal", "integer"),
    0x00201041: ("location", "floats"),
    0x00280002: ("samples", "short"),
    0x00280004: ("photometric", "text"),
    0x00280008: ("frames", "integer"),
    0x00280010: ("rows", "short"),
    0x00280011: ("columns", "short"),
    0x00280030: ("pixel_spacing", "floats"),
    0x00280100: ("bits_allocated", "short"),
    0x00280101: ("bits_stored", "short"),
    0x00280102: ("high_bit", "short"),
    0x00280103: ("signed", "short"),
    0x00280120: ("padding", "short"),
    0x00280121: ("padding_limit", "short"),
    0x00281052: ("intercept", "floats"),
    0x00281053: ("slope", "floats"),
}
"""Tag to (name, form of the value). No element here is meant to name or describe the patient; the two free texts,
``series_description`` and ``protocol``, are searched for words on contrast and never passed on, and of the dates of
acquisition no more than the month is."""

CONTRAST_SEQUENCE = 0x00180012
"""Contrast/Bolus Agent Sequence: what enhanced objects have in place of the text ``contrast_agent``."""

_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset({
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
})  # fmt: skip
_PIXELS = {0x7FE00008: "float", 0x7FE00009: "double", 0x7FE00010: "integer"}
_UNDEFINED = 0xFFFFFFFF
_FIRST_READ = 16_384
_MAX_HEADER = 2**26  # bytes before the pixels; the largest private headers are a few MiB
_MAX_DEPTH = 16
_IMPLICIT = "1.2.840.10008.1.2"
_NOT_WALKED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})  # deflated, big endian


class OddHeaderError(Exception):
    """The header is not as plain as this module expects: pydicom may know better."""


class _Buffer:
    """Bytes of a file, read on demand."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.data = file.read(_FIRST_READ)

    def has(self, end: int) -> bool:
        """Read on until ``end`` bytes are there; False when the file is shorter."""
        if end <= len(self.data):
            return True
        if end > _MAX_HEADER:
            raise OddHeaderError
        parts, size = [self.data], len(self.data)
        while size < end:
            part = self.file.read(max(65_536, end - size))
            if not part:
                break
            parts.append(part)
            size += len(part)
        self.data = b"".join(parts)
        return size >= end


def looks_like_dicom(start: bytes) -> bool:
    """Tell from the first 136 bytes whether a file is DICOM, with or without preamble."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8 or start[:2] not in (b"\x02\x00", b"\x08\x00") or start[2:4] not in _FIRST_ELEMENTS:
        return False
    return start[4:6] in _SHORT or struct.unpack_from("<I", start, 4)[0] < 256


_FIRST_ELEMENTS = (b"\x00\x00", b"\x01\x00", b"\x02\x00", b"\x05\x00", b"\x08\x00", b"\x10\x00", b"\x16\x00")


def walk_header(file: IO[bytes]) -> dict[str, Any]:
    """Read the elements of :data:`ELEMENTS` up to the pixel data.

    Args:
        file: a DICOM file, at its start.

    Returns:
        Name to value (absent when the element is absent, empty or malformed), and ``pixel_offset`` (the first byte of
        the pixel data's value), ``pixel_length``, ``pixel_kind``, ``grouped`` (it has functional groups) and ``agents``
        (it lists contrast agents).

    Raises:
        OddHeaderError: leave the file to pydicom.
    """
    buffer = _Buffer(file)
    has_preamble = buffer.data[128:132] == b"DICM"
    values: dict[str, Any] = {"pixel_offset": NO_PIXELS, "pixel_length": 0, "pixel_kind": "integer"}
    values |= {"grouped": False, "agents": False}
    position = _walk(buffer, 132 if has_preamble else 0, True, values, meta=True)
    syntax = values.get("transfer_syntax")
    if syntax in _NOT_WALKED:
        raise OddHeaderError
    explicit = buffer.data[position + 4 : position + 6] in _SHORT | _LONG if syntax is None else syntax != _IMPLICIT
    if syntax is None:
        values["transfer_syntax"] = "1.2.840.10008.1.2.1" if explicit else _IMPLICIT
    _walk(buffer, position, explicit, values, meta=False)
    return values


def _walk(buffer: _Buffer, position: int, explicit: bool, values: dict[str, Any], *, meta: bool) -> int:
    """Walk over elements; stops before the first one outside of group 2 (``meta``), or at the pixels."""
    last = 0
    while buffer.has(position + 8):
        if meta and buffer.data[position : position + 2] != b"\2\0":
            return position  # the rest may have no explicit VR
        tag, vr, length, start = _element(buffer, position, explicit)
        if tag <= last:
            raise OddHeaderError
        last = tag
        if tag in _PIXELS:
            values.update(pixel_offset=start, pixel_length=length, pixel_kind=_PIXELS[tag])
            return position
        values["grouped"] |= tag in (0x52009229, 0x52009230)
        values["agents"] |= tag == CONTRAST_SEQUENCE and length > 0
        if length == _UNDEFINED:
            position = _skip_items(buffer, start, explicit and vr != b"UN", 0)
            continue
        position = start + length
        if tag in ELEMENTS:
            if not buffer.has(position):
                raise OddHeaderError
            name, form = ELEMENTS[tag]
            value = _value(buffer.data[start:position], form)
            if value is not None:
                values[name] = value
    return position


def _element(buffer: _Buffer, position: int, explicit: bool) -> tuple[int, bytes, int, int]:
    """(tag, VR, length, start of the value) of the element at ``position``."""
    data = buffer.data
    group, element = struct.unpack_from("<HH", data, position)
    tag = group << 16 | element
    if not explicit or group == 0xFFFE:
        return tag, b"", struct.unpack_from("<I", data, position + 4)[0], position + 8
    vr = data[position + 4 : position + 6]
    if vr in _SHORT:
        return tag, vr, struct.unpack_from("<H", data, position + 6)[0], position + 8
    if vr not in _LONG or not buffer.has(position + 12):
        raise OddHeaderError
    return tag, vr, struct.unpack_from("<I", buffer.data, position + 8)[0], position + 12


def _skip_items(buffer: _Buffer, position: int, explicit: bool, depth: int) -> int:
    """Position behind a sequence of undefined length whose first item starts at ``position``."""
    if depth > _MAX_DEPTH:
        raise OddHeaderError
    while buffer.has(position + 8):
        tag, _, length, position = _element(buffer, position, explicit)
        if tag == 0xFFFEE0DD:
            return position
        if tag != 0xFFFEE000:
            raise OddHeaderError
        position = position + length if length != _UNDEFINED else _skip_item(buffer, position, explicit, depth)
    raise OddHeaderError


def _skip_item(buffer: _Buffer, position: int, explicit: bool, depth: int) -> int:
    """Position behind an item of undefined length."""
    while buffer.has(position + 8):
        tag, vr, length, position = _element(buffer, position, explicit)
        if tag == 0xFFFEE00D:
            return position
        if length == _UNDEFINED:
            position = _skip_items(buffer, position, explicit and vr != b"UN", depth + 1)
        else:
            position += length
    raise OddHeaderError


def _value(raw: bytes, form: str) -> Any:  # noqa: ANN401 - text, int or tuple of floats
    """Decode one value; None when it is empty or malformed."""
    try:
        if form == "short":
            return struct.unpack_from("<H", raw)[0]
        text = raw.decode("ascii").strip(" \0")
        if not text:
            return None
        if form == "floats":
            return tuple(float(part) for part in text.split("\\"))
        return int(text) if form == "integer" else text
    except (ValueError, struct.error):
        return None
