"""Where DICOM lies: zips that are safe, zips that are not."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.uid import RLELossless

from covidct.errors import GeometryError, InputError
from covidct.io import find_series, read_scan
from tests.fakes.dicom import body, write_enhanced, write_series

if TYPE_CHECKING:
    from pathlib import Path

HU = body()


def pack(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"study/{file.name}")
    return target


def test_zip(tmp_path: Path) -> None:
    write_series(tmp_path / "plain", HU)
    write_series(tmp_path / "packed", HU, syntax=RLELossless)
    for name in ("plain", "packed"):
        path = pack(tmp_path / name, tmp_path / f"{name}.zip")
        assert np.array_equal(read_scan(path).array, HU)
        assert find_series(path)[0].file_count == len(HU)


@pytest.mark.parametrize("name", ["../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "C:/evil.dcm", "..\\evil.dcm"])
def test_zip_entries_outside_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match="outside"):
        read_scan(path)
    assert [file.name for file in tmp_path.iterdir()] == ["evil.zip"]


def test_zip_links_and_bombs_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="link"):
        read_scan(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.dcm", bytes(80_000_000))
    with pytest.raises(InputError, match="bomb"):
        read_scan(tmp_path / "bomb.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "bomb.zip").read_bytes()[:-30])
    with pytest.raises(InputError):
        read_scan(tmp_path / "cut.zip")


def test_enhanced_file_in_a_zip(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_enhanced(tmp_path / "in" / "e.dcm", HU)
    assert np.array_equal(read_scan(pack(tmp_path / "in", tmp_path / "e.zip")).array, HU)


def test_encrypted_and_oversized_entries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "flag.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", b"x")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="encrypted"):
        read_scan(path)
    data[data.index(b"PK\x01\x02") + 8] &= 0xFE
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (2**31 + 5).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match="claims"):
        read_scan(path)


@pytest.mark.parametrize("place", [0.3, 0.999])
def test_damaged_entries_and_cut_zips_are_refused(tmp_path: Path, place: float) -> None:
    write_series(tmp_path / "in", HU)
    data = bytearray(pack(tmp_path / "in", tmp_path / "whole.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "whole.zip") as archive:
        entry = archive.infolist()[5]
    start = entry.header_offset + 30 + len(entry.filename)
    at = start + int(place * (entry.compress_size - 12))
    data[at : at + 12] = bytes(b ^ 0xFF for b in data[at : at + 12])
    (tmp_path / "damaged.zip").write_bytes(data)
    with pytest.raises(InputError):
        read_scan(tmp_path / "damaged.zip")
    if place < 0.5:
        assert "unreadable_file" in {f.code for info in find_series(tmp_path / "damaged.zip") for f in info.findings}
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    for call in (read_scan, find_series):
        with pytest.raises(InputError, match=r"zip cut\.zip is damaged"):
            call(tmp_path / "cut.zip")


def test_many_damaged_files_are_one_finding(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HU)
    for path in paths[:2]:
        path.write_bytes(path.read_bytes()[:200] + b"\xff" * 200)  # cut before the series is named
    for path in paths[-2:]:
        path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(GeometryError, match="unreadable_file"):
        read_scan(tmp_path)
    volume = read_scan(tmp_path, on_fault="repair")
    assert volume.shape[0] == len(HU) - 4
    assert [f.message for f in volume.findings] == [
        "2 files cannot be used: truncated, 3168 bytes of pixels are due.",
        "2 DICOM files have headers that cannot be read.",
    ]
