"""``read_listing`` and ``iterate_scans``: tables with faults are listed as they are; a pass keeps order and memory."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK

from covidct.curation import Entry, Unreadable, iterate_scans, read_listing, read_stack
from covidct.errors import InputError, ManifestError, UsageError
from tests.fakes.dicom import body, write_series


def write_image(path: Path, value: int, size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(size, value, np.uint8))


def write_volume(path: Path, depth: int) -> None:
    """Slice k holds k * 100 - 1000 HU around a body."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = np.zeros((depth, 16, 16), np.int16) + 40
    hu[:, :4] = (np.arange(depth) * 100 - 1000)[:, None, None]
    image = SimpleITK.GetImageFromArray(hu)
    SimpleITK.WriteImage(image, str(path))


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


def test_folders_of_class_words_give_labels_and_splits_in_natural_order(tmp_path: Path) -> None:
    for name in ("train/covid/s10.png", "train/covid/s9.png", "test/x/Normal/deep/s1.png", ".hidden/cap/s1.png"):
        write_image(tmp_path / name, 1)
    entries = read_listing(tmp_path)
    assert [(e.path.name, e.label, e.split) for e in entries] == [
        ("s1.png", "Normal", "test"),
        ("s9.png", "covid", "train"),
        ("s10.png", "covid", "train"),
    ]
    assert [(e.path.name, e.label, e.split) for e in read_listing(tmp_path, scans=True)] == [
        ("deep", "Normal", "test"),
        ("covid", "", "train"),  # what is a scan itself may be called by its patient
    ]


@pytest.mark.parametrize("scans", [False, True])
def test_folders_that_may_be_patients_are_no_classes_unless_asked_for(tmp_path: Path, scans: bool) -> None:
    for name in ("Jane_Doe/ct1/s1.png", "John_Smith/ct1/s1.png", "John_Smith/ct1/s2.png"):
        write_image(tmp_path / name, 1)
    assert {entry.label for entry in read_listing(tmp_path, scans=scans)} == {""}
    asked = read_listing(tmp_path, scans=scans, label_from_folder=True)
    assert {entry.label for entry in asked} == {"Jane_Doe", "John_Smith"}
    assert {entry.label for entry in read_listing(tmp_path / "John_Smith", scans=True, label_from_folder=True)} == {""}


def test_folders_give_dicom_series_and_volumes_too(tmp_path: Path) -> None:
    write_series(tmp_path / "covid" / "d", body(), series_uid="1.2.3.4")
    write_series(
        tmp_path / "covid" / "d", body((6, 44, 36)), series_uid="1.2.3.5", names=[f"o{k}.dcm" for k in range(6)]
    )
    write_volume(tmp_path / "normal" / "v.nii.gz", 4)
    write_image(tmp_path / "normal" / "p.png", 7)
    entries = read_listing(tmp_path)
    assert [(e.path.name, e.label, e.series) for e in entries] == [
        ("d", "covid", "1.2.3.4"),
        ("d", "covid", "1.2.3.5"),
        ("v.nii.gz", "normal", ""),
        ("p.png", "normal", ""),
    ]
    scans = list(iterate_scans(entries))
    assert [len(scan.stack) for scan in scans] == [12, 6, 4, 1]
    assert [None if scan.info is None else scan.info.uid for scan in scans] == ["1.2.3.4", "1.2.3.5", None, None]


def test_several_sources_are_listed_one_after_the_other(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "covid" / "1.png", 1)
    write_volume(tmp_path / "b.nii.gz", 4)
    entries = read_listing([tmp_path / "a", tmp_path / "b.nii.gz"])
    assert [(e.number, e.path.name, e.label) for e in entries] == [(1, "1.png", "covid"), (2, "b.nii.gz", "")]


def test_words_of_programs_for_nothing_are_no_classes(tmp_path: Path) -> None:
    lines = ["path,label,subject,split,site,slices", "a,NaN,nan,None,null,NA", "none,n/a,<NA>,nan,,"]
    entries = read_listing(write_table(tmp_path / "t.csv", *lines))
    assert entries == (Entry(1, tmp_path / "a"), Entry(2, tmp_path / "none"))


def test_slices_of_a_cleaned_table_are_read_alone(tmp_path: Path) -> None:
    write_volume(tmp_path / "v.nii.gz", 6)
    for index in range(4):
        write_image(tmp_path / "scan" / f"{index}.png", 50 * index)
    lines = ["path,slices", "v.nii.gz,0-1 3-5", "scan,1 3", "scan,", "scan,2-4"]
    entries = read_listing(write_table(tmp_path / "t.csv", *lines))
    assert [entry.slices for entry in entries] == [(0, 1, 3, 4, 5), (1, 3), None, (2, 3, 4)]
    unreadable: list[Unreadable] = []
    volume, folder, whole = iterate_scans(entries, window=(-1000.0, 0.0), unreadable=unreadable)
    assert np.allclose(volume.stack[:, 0, 0], [0, 0.1, 0.3, 0.4, 0.5])
    assert np.allclose(folder.stack.mean(axis=(1, 2)) * 255, [50, 150])
    assert len(whole.stack) == 4
    assert [item.entry.number for item in unreadable] == [4]
    assert "names slice 4, the scan has 4" in unreadable[0].reason
    with pytest.raises(ManifestError, match="row 1: the slices"):
        read_listing(write_table(tmp_path / "w.csv", "path,slices", "scan,5-2"))


def test_what_goes_into_files_names_no_file(tmp_path: Path) -> None:
    (tmp_path / "Doe_Jane.png").write_bytes(b"no picture")
    unreadable: list[Unreadable] = []
    assert not list(iterate_scans(read_listing(tmp_path), unreadable=unreadable))
    (item,) = unreadable
    assert "Doe_Jane.png" in item.reason
    assert "Doe" not in item.public_reason
    assert "(input)" in item.public_reason


def test_unknown_subjects_are_their_own() -> None:
    known, unknown = Entry(1, Path("a"), subject="row-00002"), Entry(2, Path("b"))
    assert len({known.subject_key, unknown.subject_key, Entry(3, Path("c")).subject_key}) == 3
    assert known.subject_key == Entry(4, Path("d"), subject="row-00002").subject_key


@pytest.mark.parametrize("window", [(400.0, -1000.0), (0.0, 0.0), (0.0, float("nan")), (float("-inf"), 0.0)])
def test_a_window_that_is_none_is_refused_before_reading(tmp_path: Path, window: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="window"):
        iterate_scans([Entry(1, tmp_path / "nowhere")], window=window)


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
    with pytest.raises(InputError, match="There is no scan"):
        read_listing(tmp_path)
    with pytest.raises(ManifestError, match="no rows"):
        read_listing(write_table(tmp_path / "e.csv", "path,label"))
    with pytest.raises(ManifestError, match="no column 'path'"):
        read_listing(write_table(tmp_path / "n.csv", "file,label", "a,b"))
    with pytest.raises(ManifestError, match="row 2"):
        read_listing(write_table(tmp_path / "p.csv", "path,label", "a,b", ",c"))
    with pytest.raises(InputError, match="row-00001"):
        read_stack(Entry(1, tmp_path / "gone.png"))
