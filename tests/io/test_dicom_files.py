"""Where DICOM lies: zips that are safe, zips that are not, natural order."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import RLELossless

from covidct.errors import InputError
from covidct.io import find_series, read_scan
from covidct.io.dicom_files import natural_key
from tests.fakes.dicom import body, write_enhanced, write_series

HU = body()


def test_natural_order() -> None:
    names = ["s10", "s9", "s1", "a2", "a10b", "a10"]
    wanted = ["a2", "a10", "a10b", "s1", "s9", "s10"]
    assert sorted(names, key=lambda name: natural_key(Path(name))) == wanted


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
