"""The header walk against pydicom, on written and on real files."""

from __future__ import annotations

import io
import struct
import warnings
from typing import TYPE_CHECKING, Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from covidct.io.codestream import codestream_size
from covidct.io.dicom_header import ELEMENTS, OddHeaderError, looks_like_dicom, walk_header
from tests.fakes.dicom import body, edit, write_series

if TYPE_CHECKING:
    from pathlib import Path


def check(path: Path) -> None:
    """Every element of the walk equals pydicom's."""
    with path.open("rb") as file:
        values = walk_header(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset: Any = pydicom.dcmread(path, force=True)
        for tag, (name, form) in ELEMENTS.items():
            source = dataset.file_meta if tag >> 16 == 2 else dataset
            if tag not in source or source[tag].value in (None, ""):
                assert name not in values or tag >> 16 == 2
                continue
            wanted = source[tag].value
            if form == "integer" and not str(wanted).strip().isdecimal():
                assert name not in values  # malformed counts as absent
                continue
            if form == "floats":
                wanted = tuple(float(v) for v in (wanted if hasattr(wanted, "__len__") else [wanted]))
            elif form == "short":
                wanted = int(wanted) & 0xFFFF
            elif form == "text":
                wanted = "\\".join(v.strip() for v in ([wanted] if isinstance(wanted, str) else wanted))
                values[name] = "\\".join(v.strip() for v in values[name].split("\\"))
            assert values[name] == wanted, name
    if "PixelData" in dataset and values["pixel_length"] != 0xFFFFFFFF:
        start = values["pixel_offset"]
        content = path.read_bytes()[start : start + values["pixel_length"]]
        assert content == dataset.PixelData


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [True, False])
def test_walk_over_nested_sequences(tmp_path: Path, syntax: str, undefined: bool) -> None:
    path = write_series(tmp_path, body((1, 40, 36)), syntax=syntax)[0]
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning = "deep"
    outer.PurposeOfReferenceCodeSequence = [inner]
    edit(path, ReferencedImageSequence=[outer, outer], PixelDataProviderURL="x" * 60_000)
    dataset = pydicom.dcmread(path)
    dataset["ReferencedImageSequence"].is_undefined_length = undefined
    for item in dataset.ReferencedImageSequence:
        item.is_undefined_length_sequence_item = undefined
    dataset.save_as(path)
    check(path)


@pytest.mark.real
def test_walk_equals_pydicom_on_real_files(real_data: Path) -> None:
    checked = 0
    for folder in ("dicom_reader/valid", "dicom_reader/odd", "dicom_reader/cxr", "ct_cip/simple_dicom"):
        for path in sorted((real_data / folder).glob("*.dcm")):
            if not looks_like_dicom(path.read_bytes()[:136]):
                continue
            try:
                check(path)
                checked += 1
            except OddHeaderError:
                continue
    assert checked >= 25


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<HH2sH", 0x0028, 0x0010, b"ZZ", 2) + b"\0\0",  # no such VR
        struct.pack("<HH2sH", 0x0008, 0x0001, b"US", 2) + b"\0\0",  # out of order
        struct.pack("<HH2s2xI", 0x0030, 0x0010, b"SQ", 0xFFFFFFFF),  # a sequence without end
        struct.pack("<HH2sH", 0x0028, 0x0010, b"US", 2),  # cut
    ],
)
def test_what_is_odd_is_left_to_pydicom(tail: bytes) -> None:
    start = bytes(128) + b"DICM" + struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"
    with pytest.raises(OddHeaderError):
        walk_header(io.BytesIO(start + tail))


def test_sizes_in_codestreams() -> None:
    j2k = b"\xff\x4f\xff\x51" + struct.pack(">HHIIIIIIIIH", 41, 0, 70, 50, 6, 10, 0, 0, 0, 0, 3)
    assert codestream_size(j2k) == (40, 64, 3)
    sof = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc3" + struct.pack(">HBHHB", 11, 12, 300, 200, 1) + bytes(3)
    assert codestream_size(sof) == (300, 200, 1)
    for damaged in (b"", b"\xff\xd8", b"\xff\xd8\x00\x00" + bytes(20), bytes(100)):
        assert codestream_size(damaged) is None
