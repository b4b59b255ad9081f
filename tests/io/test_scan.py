"""One door for every format: which reader a path is sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from covidct.errors import InputError, UsageError
from covidct.io import find_series, read_scan
from covidct.io.dicom_series import find_all
from covidct.io.scan import read_scan_with_info
from tests.fakes.dicom import body, write_series

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.io.dicom_files import Item
    from covidct.io.dicom_series import Fault, Series

HU = body()


def write_nifti(path: Path) -> None:
    image: Any = nibabel.Nifti1Image(HU.T, np.diag([-0.5, -0.75, 2, 1]))  # type: ignore[no-untyped-call]
    nibabel.save(image, path)


def write_pictures(folder: Path) -> None:
    folder.mkdir()
    for k in range(4):
        Image.fromarray(np.full((20, 24), 60 * k, dtype=np.uint8)).save(folder / f"s{k}.png")


def test_each_kind_finds_its_reader(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", HU)
    (tmp_path / "nifti").mkdir()
    write_nifti(tmp_path / "nifti" / "a.nii.gz")
    write_pictures(tmp_path / "png")
    assert np.array_equal(read_scan(tmp_path / "dicom").array, HU)
    for path in (tmp_path / "nifti", tmp_path / "nifti" / "a.nii.gz"):
        volume = read_scan(path)
        assert np.array_equal(volume.array, HU)
        assert volume.spacing == pytest.approx((2.0, 0.75, 0.5))
    assert read_scan(tmp_path / "png").intensity == "unit"
    assert [info.format for info in find_series(tmp_path)] == ["dicom", "nifti", "raster"]
    assert [info.format for info in find_series(tmp_path / "nifti" / "a.nii.gz")] == ["nifti"]


def test_dicom_goes_before_pictures_beside_it(tmp_path: Path) -> None:
    write_pictures(tmp_path / "scan")
    write_series(tmp_path / "scan", HU)
    assert np.array_equal(read_scan(tmp_path / "scan").array, HU)


def test_several_volume_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.nii", "b.nii.gz"):
        write_nifti(tmp_path / name)
    with pytest.raises(InputError, match="2 scans"):
        read_scan(tmp_path)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="on_fault"):
        read_scan(tmp_path, on_fault="ignore")  # type: ignore[arg-type]
    for call in (read_scan, find_series):
        with pytest.raises(InputError, match="no file or folder"):
            call(tmp_path / "absent")
    write_pictures(tmp_path / "png")
    with pytest.raises(InputError, match="single picture"):
        read_scan(tmp_path / "png" / "s0.png")
    (tmp_path / "empty").mkdir()
    assert find_series(tmp_path / "empty") == []


def test_damaged_files_are_listed_not_lost(tmp_path: Path) -> None:
    write_series(tmp_path / "good", HU)
    (tmp_path / "bad.nii").write_bytes(b"no header")
    infos = find_series(tmp_path)
    assert [(info.format, info.shape) for info in infos] == [("dicom", HU.shape), ("nifti", (0, 0, 0))]
    assert infos[1].findings[0].code == "unreadable_file"
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "x.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 50)
    assert [info.findings[0].action for info in find_series(tmp_path / "only")] == ["refused"]
    with pytest.raises(InputError):
        read_scan(tmp_path / "only")


def test_odd_names_and_damaged_pictures_do_not_stop_the_listing(tmp_path: Path) -> None:
    (tmp_path / "unpacked.nii.gz").mkdir()
    write_nifti(tmp_path / "unpacked.nii.gz" / "scan.nii")
    assert np.array_equal(read_scan(tmp_path).array, HU)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".thumb.png").write_bytes(b"x")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.png").write_bytes(b"x")
    infos = find_series(tmp_path)
    assert [(info.format, info.shape) for info in infos] == [("nifti", HU.shape), ("raster", (0, 0, 0))]
    assert [f.action for f in infos[1].findings] == ["refused"]


def test_a_series_is_asked_of_dicom_only(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii")
    for path in (tmp_path, tmp_path / "a.nii"):
        with pytest.raises(InputError, match=r"no DICOM series 1\.2\.3"):
            read_scan(path, series="1.2.3")


def test_listing_a_picture_says_what_to_give(tmp_path: Path) -> None:
    write_pictures(tmp_path / "png")
    with pytest.raises(InputError, match="single picture"):
        find_series(tmp_path / "png" / "s0.png")


def test_headers_of_dicom_are_read_once_with_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, HU, series_uid="1.2.3.1")
    write_series(tmp_path, HU[:5], series_uid="1.2.3.2", names=[f"other{k}.dcm" for k in range(5)])
    calls: list[object] = []

    def counted(items: list[Item]) -> tuple[list[Series], list[Fault]]:
        calls.append(items)
        return find_all(items)

    monkeypatch.setattr("covidct.io.dicom.find_all", counted)
    volume, info = read_scan_with_info(tmp_path, series="1.2.3.2")
    assert len(calls) == 1
    assert info is not None
    assert (info.uid, info.shape, info.file_count, volume.shape[0]) == ("1.2.3.2", (5, 44, 36), 5, 5)
    listed = next(one for one in find_series(tmp_path) if one.uid == "1.2.3.2")
    assert (info.spacing, info.kernel, info.acquired, info.findings) == (
        listed.spacing,
        listed.kernel,
        listed.acquired,
        listed.findings,
    )
