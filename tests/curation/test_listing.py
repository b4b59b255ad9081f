"""``read_listing`` and ``iterate_scans``: tables with faults are listed as they are; a pass keeps order and memory."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidct.curation import Entry, Unreadable, iterate_scans, read_listing, read_stack
from covidct.errors import InputError, ManifestError, UsageError


def write_image(path: Path, value: int, size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(size, value, np.uint8))


def write_table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_is_listed_with_its_faults(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "cohort.csv",
        "path,label,subject,split",
        "a.png,covid,p1,train",
        "a.png,normal,p1,TEST",
        "missing.png,,,",
    )
    assert read_listing(table) == (
        Entry(1, tmp_path / "a.png", "covid", "p1", "train"),
        Entry(2, tmp_path / "a.png", "normal", "p1", "test"),
        Entry(3, tmp_path / "missing.png"),
    )


def test_other_columns_and_subjects_from_names(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", "path,Class,where", "x/p07_2.png,ill,Wuhan", "x/other.png,well,Rome")
    entries = read_listing(table, columns={"label": "class", "site": "where"}, subject_pattern=r"^p(\d+)_")
    assert [(e.label, e.site, e.subject) for e in entries] == [("ill", "Wuhan", "07"), ("well", "Rome", "")]


def test_folders_give_labels_and_splits_in_natural_order(tmp_path: Path) -> None:
    for name in ("train/ill/s10.png", "train/ill/s9.png", "test/well/deep/s1.png", ".hidden/ill/s1.png"):
        write_image(tmp_path / name, 1)
    entries = read_listing(tmp_path)
    assert [(e.path.name, e.label, e.split) for e in entries] == [
        ("s1.png", "well", "test"),
        ("s9.png", "ill", "train"),
        ("s10.png", "ill", "train"),
    ]
    assert [(e.path.name, e.label, e.split) for e in read_listing(tmp_path, scans=True)] == [
        ("deep", "well", "test"),
        ("ill", "ill", "train"),
    ]


def test_a_pass_keeps_the_order_reads_few_ahead_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import covidct.curation.listing as module

    for index in range(9):
        write_image(tmp_path / f"{index}.png", index * 20)
    (tmp_path / "4.png").write_bytes(b"no image")
    open_, most, lock, reading = 0, 0, threading.Lock(), module.read_stack

    def counted(*args: object, **options: object) -> object:
        nonlocal open_, most
        with lock:
            open_ += 1
            most = max(most, open_)
        return reading(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_stack", counted)
    unreadable: list[Unreadable] = []
    seen = []
    for scan in iterate_scans(read_listing(tmp_path), workers=2, unreadable=unreadable):
        with lock:
            open_ -= 1
        seen.append(round(float(scan.stack.mean()) * 255))
    assert seen == [0, 20, 40, 60, 100, 120, 140, 160]
    assert [u.entry.number for u in unreadable] == [5]
    assert most <= 5  # two in work, one in use, and what was counted before the loop took it
    with pytest.raises(InputError):
        list(iterate_scans(read_listing(tmp_path), workers=2))


def test_colour_becomes_grey_and_a_folder_a_stack(tmp_path: Path) -> None:
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 2] = 255  # red, in OpenCV's order
    assert cv2.imwrite(str(tmp_path / "red.png"), colour)
    assert np.allclose(read_stack(Entry(1, tmp_path / "red.png")).stack, 0.299)
    for index in range(3):
        write_image(tmp_path / "scan" / f"{index}.png", 51 * index)
    scan = read_stack(Entry(1, tmp_path / "scan"))
    assert scan.stack.shape == (3, 12, 10)
    assert np.allclose(scan.stack.mean(axis=(1, 2)), [0, 0.2, 0.4])
    assert scan.volume is not None


def test_hounsfield_units_are_windowed(tmp_path: Path) -> None:
    import SimpleITK

    hu = np.full((4, 16, 16), -1000, np.int16)
    hu[:, 4:12, 4:12] = 40
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu), str(tmp_path / "scan.nii.gz"))
    scan = read_stack(Entry(1, tmp_path / "scan.nii.gz"), window=(-1250.0, 250.0))
    assert scan.volume is not None
    assert np.allclose(np.unique(scan.stack), [250 / 1500, 1290 / 1500])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"subject_pattern": "(["}, UsageError, "no regular expression"),
        ({"subject_pattern": "p1"}, UsageError, "parentheses"),
        ({"columns": {"lable": "x"}}, UsageError, "lable"),
        ({"columns": {"label": "class"}}, ManifestError, "no column 'class'"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, options: dict[str, object], error: type[Exception], words: str
) -> None:
    table = write_table(tmp_path / "t.csv", "path,label", "a.png,covid")
    with pytest.raises(error, match=words.replace("(", r"\(")):
        read_listing(table, **options)  # type: ignore[arg-type]


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image"):
        read_listing(tmp_path)
    with pytest.raises(ManifestError, match="no rows"):
        read_listing(write_table(tmp_path / "e.csv", "path,label"))
    with pytest.raises(ManifestError, match="no column 'path'"):
        read_listing(write_table(tmp_path / "n.csv", "file,label", "a,b"))
    with pytest.raises(ManifestError, match="row 2"):
        read_listing(write_table(tmp_path / "p.csv", "path,label", "a,b", ",c"))
    with pytest.raises(InputError, match="row-00001"):
        read_stack(Entry(1, tmp_path / "gone.png"))
