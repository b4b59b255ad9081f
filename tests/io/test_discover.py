"""What counts as a scan in a folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from covidct.errors import InputError, UsageError
from covidct.io import ScanInput, SeriesInfo, discover
from tests.fakes.dicom import body, write_series


def info(uid: str) -> SeriesInfo:
    return SeriesInfo(uid, "dicom", "CT", (3, 4, 4), (1.0, 1.0, 1.0))


@pytest.fixture
def series(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Series by folder name, instead of real DICOM."""
    table: dict[str, list[str]] = {}

    def find(path: Path) -> list[SeriesInfo]:
        if path.name not in table:
            raise InputError("no scan")
        return [info(uid) for uid in table[path.name]]

    monkeypatch.setattr(import_module("covidct.io.discover"), "find_series", find)
    return table


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(path: Path) -> list[tuple[str, str | None]]:
    return [(scan.path.relative_to(path).as_posix(), scan.series) for scan in discover([path])]


def test_a_mixed_folder(tmp_path: Path, series: dict[str, list[str]]) -> None:
    touch(
        tmp_path,
        "a.nii.gz",
        "b10.nrrd",
        "b9.nrrd",
        "c.zip",
        "notes.txt",
        ".hidden.nii",
        "one/1.dcm",
        "one/2.dcm",
        "two/s/1.dcm",
        "pictures/1.png",
        "deep/er/x.mha",
    )
    series["one"] = ["1.2.3"]
    series["s"] = ["1.2.3", "1.2.4"]
    assert sorted(found(tmp_path)) == [
        ("a.nii.gz", None),
        ("b10.nrrd", None),
        ("b9.nrrd", None),
        ("c.zip", None),
        ("deep/er/x.mha", None),
        ("one", None),
        ("pictures", None),
        ("two/s", "1.2.3"),
        ("two/s", "1.2.4"),
    ]


def test_natural_order(tmp_path: Path, series: dict[str, list[str]]) -> None:
    touch(tmp_path, "case10.nii", "case9.nii", "case1.nii")
    assert [name for name, _ in found(tmp_path)] == ["case1.nii", "case9.nii", "case10.nii"]


def test_dicom_without_preamble_and_suffix_is_known_too(tmp_path: Path, series: dict[str, list[str]]) -> None:
    """PS3.10 files begin with 128 bytes and DICM; older ones begin with their first element, group 8."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "IM0001").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(200))
    series["s"] = ["1.2.3"]
    assert found(tmp_path) == [("s", None)]


def test_dicom_is_known_by_its_prefix_too(tmp_path: Path, series: dict[str, list[str]]) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "IM0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "LICENSE").write_bytes(bytes(200))
    series["s"] = ["1.2.3"]
    assert found(tmp_path) == [("s", None)]


def test_volumes_beside_dicom_are_scans_of_their_own(tmp_path: Path, series: dict[str, list[str]]) -> None:
    touch(tmp_path, "1.dcm", "sub/a.nii")
    assert found(tmp_path) == [(".", None), ("sub/a.nii", None)]


def test_each_once_and_named_files_as_they_are(tmp_path: Path, series: dict[str, list[str]]) -> None:
    touch(tmp_path, "a.nii", "odd.txt")
    assert [scan.path.name for scan in discover([tmp_path, tmp_path / "a.nii", tmp_path / "odd.txt"])] == [
        "a.nii",
        "odd.txt",
    ]


def test_a_named_zip_of_two_series_gives_two_scans(tmp_path: Path, series: dict[str, list[str]]) -> None:
    touch(tmp_path, "a.zip")
    series["a.zip"] = ["1.2", "1.3"]
    assert discover([tmp_path / "a.zip"]) == (
        ScanInput(tmp_path / "a.zip", "1.2"),
        ScanInput(tmp_path / "a.zip", "1.3"),
    )


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file or folder"):
        discover([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="There is no scan in"):
        discover([tmp_path])


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    cohort, elsewhere = tmp_path / "cohort", tmp_path / "elsewhere"
    touch(elsewhere, "deep/a.nii.gz")
    cohort.mkdir()
    (cohort / "linked").symlink_to(elsewhere)
    (elsewhere / "deep" / "back").symlink_to(elsewhere)
    assert found(cohort) == [("linked/deep/a.nii.gz", None)]


def test_pictures_one_by_one(tmp_path: Path, series: dict[str, list[str]]) -> None:
    touch(tmp_path, "covid/10.png", "covid/9.JPG", "covid/a.nii.gz", "covid/b.bmp", "scan/1.dcm", "scan/overview.png")
    series["scan"] = ["1.2.3"]
    names = [scan.path.relative_to(tmp_path).as_posix() for scan in discover([tmp_path], single_pictures=True)]
    assert names == ["covid/a.nii.gz", "covid/9.JPG", "covid/10.png", "covid/b.bmp", "scan"]
    assert [name for name, _ in found(tmp_path)] == ["covid/a.nii.gz", "covid", "scan"]


def test_dicom_of_one_slice_is_a_picture_where_those_are_asked_for(tmp_path: Path) -> None:
    for number in (10, 9):
        write_series(tmp_path, body()[:1], names=[f"x{number}.dcm"], series_uid=f"1.2.3.{number}")
    (tmp_path / "copy.dcm").write_bytes((tmp_path / "x9.dcm").read_bytes())
    write_series(tmp_path, body(), series_uid="1.2.3.1")
    assert discover([tmp_path], single_pictures=True) == (
        ScanInput(tmp_path / "copy.dcm"),
        ScanInput(tmp_path / "x9.dcm"),
        ScanInput(tmp_path / "x10.dcm"),
        ScanInput(tmp_path, "1.2.3.1"),
    )
    assert {scan.series for scan in discover([tmp_path])} == {"1.2.3.1", "1.2.3.9", "1.2.3.10"}
