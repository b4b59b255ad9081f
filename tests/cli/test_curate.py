"""``covidct curate``: a foreign slice is found, shown and left out of tables that data sets read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK

from covidct.__main__ import main
from covidct.datasets import ManifestSlices, ManifestVolumes
from covidct.volume import Volume
from tests.curation.test_slice_order import foreign, smooth_stack
from tests.fakes.dicom import write_series
from tests.report.page import Page

FILES = {"curation.html", "curation.json", "removed.csv", "cleaned.csv"}


def stack(place: int | None) -> np.ndarray:
    """Ten smooth slices, one of them foreign."""
    slices = smooth_stack(10)
    if place is not None:
        slices[place] = foreign()
    return slices


def write_folder(folder: Path, slices: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for index, plane in enumerate(slices):
        assert cv2.imwrite(str(folder / f"Meyer_{index}.png"), plane)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two folders of slices of two classes; slice 4 of Meyer's second scan is foreign."""
    write_folder(tmp_path / "data" / "train" / "covid" / "Meyer1", stack(None))
    write_folder(tmp_path / "data" / "train" / "normal" / "Meyer2", stack(4))
    return tmp_path


def test_folders_of_slices(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = cohort / "out"
    before = sorted(path for path in cohort.rglob("*") if path.is_file())
    assert main(["curate", str(cohort / "data"), "--out", str(out), "--subject-pattern", "(Meyer.)"]) == 0
    captured = capsys.readouterr()
    assert {file.name for file in out.iterdir()} == FILES | {"slices.csv"}
    assert sorted(p for p in cohort.rglob("*") if p.is_file() and out not in p.parents) == before
    record = json.loads((out / "curation.json").read_text())
    assert [[one["index"] for one in scan["removed"]] for scan in record["scans"]] == [[], [4]]
    assert [(row["id"], row["slice"]) for row in rows(out / "removed.csv")] == [("row-00002", "4")]
    page = Page(out / "curation.html")
    assert len(page.all("img")) == 3
    assert "slice 4, removed" in page.text
    for text in (captured.out, captured.err, page.source, (out / "curation.json").read_text()):
        assert "Meyer" not in text

    cleaned = rows(out / "cleaned.csv")
    assert [(row["label"], row["split"], row["slices"]) for row in cleaned] == [
        ("covid", "train", ""),
        ("normal", "train", "0-3 5-9"),
    ]
    volumes = ManifestVolumes(out / "cleaned.csv", intensity="unit")
    assert [record.subject for record in volumes.records] == ["Meyer1", "Meyer2"]
    scan = volumes.load(1).scan
    assert isinstance(scan, Volume)
    assert np.array_equal(np.rint(scan.array * 255).astype(np.uint8), np.delete(stack(4), 4, axis=0))

    slices = ManifestSlices(out / "slices.csv")
    assert len(slices) == 19
    assert [row["slice"] for row in rows(out / "slices.csv") if row["scan"] == "row-00002"] == list("012356789")
    assert "Meyer_4.png" not in [Path(row["path"]).name for row in rows(out / "slices.csv")[10:]]


def write_volume(path: Path, slices: np.ndarray) -> Path:
    """The grey levels as HU from -1250 to 250."""
    image = SimpleITK.GetImageFromArray(np.rint(slices.astype(np.float32) / 255 * 1500 - 1250).astype(np.int16))
    image.SetSpacing((0.7, 0.7, 2.0))  # type: ignore[no-untyped-call]
    SimpleITK.WriteImage(image, str(path))
    return path


def test_a_table_of_volumes_keeps_its_columns(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    write_volume(tmp_path / "ct" / "a.nii.gz", stack(6))
    write_volume(tmp_path / "ct" / "b.nii.gz", stack(None))
    (tmp_path / "ct" / "s.txt").write_text("1\n" * 10)
    table = tmp_path / "ct" / "t.csv"
    table.write_text("file,class,who,age,slice_labels\na.nii.gz,covid,p1,50,s.txt\nb.nii.gz,cap,p2,60,\n")
    columns = ["--path-column", "file", "--label-column", "class", "--subject-column", "who"]
    out = tmp_path / "out"
    assert main(["curate", str(table), *columns, "--out", str(out)]) == 0
    assert {file.name for file in out.iterdir()} == FILES  # a volume has no slice files
    cleaned = rows(out / "cleaned.csv")
    assert [(row["path"], row["label"], row["subject"], row["age"]) for row in cleaned] == [
        ("../ct/a.nii.gz", "covid", "p1", "50"),
        ("../ct/b.nii.gz", "cap", "p2", "60"),
    ]
    assert cleaned[0]["slices"] == "0-5 7-9"
    raw = ManifestVolumes(out / "cleaned.csv").load(0)
    assert isinstance(raw.scan, Volume)
    assert raw.scan.shape[0] == 10  # positions are known: the place is interpolated, the geometry stays
    assert [finding.code for finding in raw.scan.findings if finding.code == "slices_left_out"]
    assert raw.slice_label is not None
    assert raw.slice_label.tolist() == [2] * 6 + [-1] + [2] * 3


def test_a_table_of_slices_needs_the_column_of_scans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "a", stack(3))
    write_folder(tmp_path / "b", stack(None))
    table = tmp_path / "t.csv"
    lines = [f"{name}/Meyer_{index}.png,covid,{name},{name}1" for index in range(10) for name in "ab"]
    table.write_text("\n".join(["path,label,subject,series", *lines]) + "\n")
    assert main(["curate", str(table), "--out", str(tmp_path / "no")]) == 2
    assert "says which pictures make a scan" in capsys.readouterr().err
    out = tmp_path / "out"
    assert main(["curate", str(table), "--scan-column", "Series", "--out", str(out)]) == 0
    cleaned = rows(out / "cleaned.csv")
    assert len(cleaned) == 19
    assert "../a/Meyer_3.png" not in [row["path"] for row in cleaned]
    assert "../b/Meyer_3.png" in [row["path"] for row in cleaned]
    assert len(ManifestSlices(out / "cleaned.csv")) == 19
    assert {row["series"] for row in cleaned} == {"a1", "b1"}
    assert len(Page(out / "curation.html").all("img")) == 3


def slices_table(folder: Path, *lines: str) -> Path:
    """Two scans of ten slices, a and b, in one table."""
    for name in "ab":
        if not (folder / name).exists():
            write_folder(folder / name, stack(3 if name == "a" else None))
    table = folder / "t.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def test_slices_of_one_scan_have_one_subject_whether_known_or_not(tmp_path: Path) -> None:
    names = [(name, index) for index in range(10) for name in "ab"]
    lines = [f"{name}/Meyer_{index}.png,{'p9' if name + str(index) == 'b4' else ''},{name}" for name, index in names]
    table = slices_table(tmp_path, "path,subject,series", *lines)
    for place in ("one", "two"):
        assert main(["curate", str(table), "--scan-column", "series", "--out", str(tmp_path / place)]) == 0
    subjects = {series: {row["subject"] for row in rows(tmp_path / "one" / "cleaned.csv") if row["series"] == series}
                for series in "ab"}  # fmt: skip
    (unknown,) = subjects["a"]
    assert unknown.startswith("unknown-")
    assert unknown.endswith("-row-00001")
    assert subjects["b"] == {"p9"}  # a scan is of one patient
    assert (tmp_path / "one" / "cleaned.csv").read_text() == (tmp_path / "two" / "cleaned.csv").read_text()


def test_unknown_subjects_of_two_tables_can_be_joined(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        write_folder(tmp_path / name / "covid" / "scan", stack(None))
        assert main(["curate", str(tmp_path / name), "--out", str(tmp_path / f"{name}-out")]) == 0
        (row,) = rows(tmp_path / f"{name}-out" / "cleaned.csv")
        assert {other["subject"] for other in rows(tmp_path / f"{name}-out" / "slices.csv")} == {row["subject"]}
        found.append(row["subject"])
    assert len(set(found)) == 2
    assert len({len(name) for name in found}) == 1


def test_a_cleaned_table_is_cleaned_again_and_read_by_the_other_verbs(cohort: Path) -> None:
    first, second = cohort / "first", cohort / "second"
    assert main(["curate", str(cohort / "data"), "--out", str(first)]) == 0
    assert main(["curate", str(first / "cleaned.csv"), "--out", str(second)]) == 0
    assert [row["slices"] for row in rows(second / "cleaned.csv")] == ["", "0-3 5-9"]
    assert rows(second / "removed.csv") == []
    assert [row["slice"] for row in rows(second / "slices.csv") if row["scan"] == "row-00002"] == list("012356789")
    assert main(["eda", str(first / "cleaned.csv"), "--out", str(cohort / "eda"), "--no-probes", "--size", "16"]) == 0
    assert [row["slices"] for row in rows(cohort / "eda" / "scans.csv")] == ["10", "9"]


def test_series_of_one_folder_are_scans_that_the_table_names(tmp_path: Path) -> None:
    hu = np.rint(stack(4)[:, ::2, ::2].astype(np.float32) / 255 * 1200 - 1000).astype(np.int16)
    write_series(tmp_path / "in" / "d", hu, series_uid="1.2.3.4")
    names = [f"o{k}.dcm" for k in range(10)]
    write_series(tmp_path / "in" / "d", np.roll(hu, -1, axis=0), series_uid="1.2.3.5", names=names)
    out = tmp_path / "out"
    assert main(["curate", str(tmp_path / "in"), "--out", str(out)]) == 0
    cleaned = rows(out / "cleaned.csv")
    assert sorted((row["path"], row["series_uid"], row["slices"]) for row in cleaned) == [
        ("../in/d", "1.2.3.4", "0-3 5-9"),
        ("../in/d", "1.2.3.5", "0-2 4-9"),
    ]
    volumes = ManifestVolumes(out / "cleaned.csv")
    for index in range(2):
        scan = volumes.load(index).scan
        assert isinstance(scan, Volume)
        assert "slices_left_out" in [finding.code for finding in scan.findings]
    assert main(["curate", str(out / "cleaned.csv"), "--out", str(tmp_path / "again")]) == 0
    assert rows(tmp_path / "again" / "removed.csv") == []


def test_folders_that_may_be_patients_are_no_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Jane_Doe", "John_Smith"):
        write_folder(tmp_path / "in" / name / "ct", stack(None))
    assert main(["curate", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    assert {row["label"] for row in rows(tmp_path / "out" / "cleaned.csv")} == {""}
    assert "--label-from-folder takes the first folder" in capsys.readouterr().err
    argv = ["curate", str(tmp_path / "in"), "--label-from-folder", "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    assert {row["label"] for row in rows(tmp_path / "out" / "cleaned.csv")} == {"Jane_Doe", "John_Smith"}


def test_nothing_readable_leaves_no_table(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (cohort / "data").rglob("*.png"):
        file.write_bytes(b"no picture")
    out = cohort / "out"
    assert main(["curate", str(cohort / "data"), "--out", str(out)]) == 3
    assert {file.name for file in out.iterdir()} == {"curation.html", "curation.json"}
    said = capsys.readouterr().err
    assert "no table is written" in said
    assert "row-00001: " in said
    assert "Meyer_0.png" in said  # at the terminal of the person who named the folder
    for file in out.iterdir():
        assert "Meyer" not in file.read_text()


def test_one_picture_among_scans_is_told_and_the_rest_is_cleaned(cohort: Path) -> None:
    lines = ["path,label", "data/train/normal/Meyer2,normal", "data/train/normal/Meyer2/Meyer_0.png,covid"]
    (cohort / "t.csv").write_text("\n".join(lines) + "\n")
    assert main(["curate", str(cohort / "t.csv"), "--out", str(cohort / "out")]) == 1
    assert len(rows(cohort / "out" / "cleaned.csv")) == 1
    record = json.loads((cohort / "out" / "curation.json").read_text())
    assert [item["id"] for item in record["unreadable"]] == ["row-00002"]


def test_exit_codes(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cohort / "data" / "train" / "covid" / "Meyer1" / "Meyer_2.png").write_bytes(b"no picture")
    out = ["--out", str(cohort / "out")]
    assert main(["curate", str(cohort / "data"), *out, "--window", "-1000", "400"]) == 1
    assert "1 of 2 entries could not be read" in capsys.readouterr().err
    assert len(rows(cohort / "out" / "cleaned.csv")) == 1
    assert main(["curate", str(cohort / "data" / "train" / "covid"), *out]) == 3
    (cohort / "t.csv").write_text("path\ndata/train/normal/Meyer2\n")
    for argv, code in [
        ([str(cohort / "nowhere"), *out], 2),
        ([str(cohort / "data"), "--out", str(cohort / "t.csv")], 2),
        ([str(cohort / "data"), *out, "--threshold", "65"], 2),
        ([str(cohort / "data"), *out, "--label-column", "x"], 2),
        ([str(cohort / "t.csv"), str(cohort / "data"), *out], 2),
        ([str(cohort / "t.csv"), *out, "--scan-column", "x"], 3),
        ([str(cohort / "data"), *out, "--hash", "whash"], 2),
        ([str(cohort / "data"), *out, "--shown", "-1"], 2),
        ([str(cohort / "data"), *out, "--window", "400", "-1000"], 2),
        ([str(cohort / "data"), *out, "--window", "400"], 2),
    ]:
        capsys.readouterr()
        assert main(["curate", *argv]) == code, argv
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("reading")]
        assert len(said) == 1, said
        assert said[0].startswith("covidct: error:")
