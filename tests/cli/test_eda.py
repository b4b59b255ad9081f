"""``covidct eda``: a page, JSON and CSVs of a table or a folder; faults are exit codes and one sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK

from covidct.__main__ import main
from tests.fakes.dicom import body, write_series

FILES = {"eda.html", "eda.json", "counts.csv", "scans.csv", "months.csv", "shortcuts.csv"}


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Pictures of 24 patients; those of ill ones have a white corner."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        ill = number % 2
        image = rng.integers(20, 200, (40, 40), dtype=np.uint8)
        if ill:
            image[:4, :4] = 255
        folder = tmp_path / "data" / ("ill" if ill else "well")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"Meyer{number:02d}.png"
        assert cv2.imwrite(str(path), image)
        rows.append([str(path.relative_to(tmp_path)), folder.name, f"N{number}", "train", f"clinic {number // 2 % 2}"])
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "class", "who", "part", "where"], *rows])
    return tmp_path


def test_a_table_with_columns_of_its_own(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["--path-column", "file", "--label-column", "class", "--subject-column", "who"]
    columns += ["--split-column", "part", "--site-column", "where"]
    out = cohort / "out"
    assert main(["eda", str(cohort / "t.csv"), *columns, "--out", str(out), "--size", "32", "--resamples", "100"]) == 0
    captured = capsys.readouterr()
    assert "warning: The label can be told from corners alone" in captured.err
    assert "The source" not in captured.err
    assert {file.name for file in out.iterdir()} == FILES
    record = json.loads((out / "eda.json").read_text())
    assert record["total"] == {"subjects": 24, "scans": 24, "slices": 24, "unknown": 0}
    assert {probe["target"] for probe in record["shortcuts"]} == {"label", "site"}
    assert record["run"]["size"] == 32
    for text in (captured.out, captured.err, *((out / name).read_text() for name in FILES)):
        assert "Meyer" not in text
        assert "N23" not in text


def test_a_folder_with_patients_in_names(cohort: Path) -> None:
    out = cohort / "out"
    options = ["--subject-pattern", r"^Meyer(\d)", "--no-probes", "--size", "16", "--no-dates", "--label-from-folder"]
    assert main(["eda", str(cohort / "data"), "--out", str(out), *options]) == 0
    record = json.loads((out / "eda.json").read_text())
    assert record["total"]["subjects"] == 3
    assert [row["label"] for row in record["counts"]] == ["ill", "well"]


def test_exit_codes(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cohort / "data" / "ill" / "broken.png").write_bytes(b"no picture")
    out = ["--out", str(cohort / "out"), "--no-probes", "--label-from-folder", "--size", "16"]
    assert main(["eda", str(cohort / "data"), *out]) == 1
    assert "1 of 25 entries could not be read" in capsys.readouterr().err
    page = (cohort / "out" / "eda.html").read_text()
    assert "row-" in page
    assert "broken.png" not in page
    for argv, code in [
        ([str(cohort / "nowhere"), *out], 2),
        ([str(cohort / "nowhere.csv"), *out], 3),
        ([str(cohort / "t.csv"), *out], 3),  # no column path
        ([str(cohort / "data"), "--out", str(cohort / "t.csv")], 2),
        ([str(cohort / "data"), *out, "--subject-pattern", "("], 2),
        ([str(cohort / "data"), *out[:-1], "0"], 2),
        ([str(cohort / "data")], 2),
        ([str(cohort / "data"), *out, "--window", "400", "-1000"], 2),
        ([str(cohort / "data"), *out, "--resamples", "-3"], 2),
    ]:
        assert main(["eda", *argv]) == code, argv
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("reading")]
        assert len(said) == 1
        assert said[0].startswith("covidct: error:")


def test_scans_in_folders_of_patients_name_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for number in range(5):
        for index in range(3):
            path = tmp_path / "in" / f"Meyer{number}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), rng.integers(20, 200, (40, 40), dtype=np.uint8))
    argv = ["eda", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--no-probes", "--size", "16"]
    assert main([*argv, "--scans"]) == 0
    captured = capsys.readouterr()
    assert "no folder is called by a class word" not in captured.err  # they are the scans themselves
    for text in (captured.out, captured.err, *((tmp_path / "out" / name).read_text() for name in FILES)):
        assert "Meyer" not in text
    assert main(argv) == 0  # each picture by itself
    assert "no folder is called by a class word" in capsys.readouterr().err
    for name in FILES:
        assert "Meyer" not in (tmp_path / "out" / name).read_text()


def test_labels_with_one_entry_each_are_warned_of(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["--path-column", "file", "--label-column", "who"]
    argv = ["eda", str(cohort / "t.csv"), *columns, "--out", str(cohort / "out"), "--no-probes", "--size", "16"]
    assert main(argv) == 0
    assert "24 of 24 labels have one entry alone" in capsys.readouterr().err


def test_folders_of_dicom_and_volumes_are_cohorts_too(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "covid" / "d", body(), series_uid="1.2.3.4")
    write_series(tmp_path / "in" / "covid" / "d", body((6, 44, 36)), names=[f"o{k}.dcm" for k in range(6)])
    hu = SimpleITK.GetImageFromArray(body((7, 44, 36)))
    (tmp_path / "in" / "normal").mkdir()
    SimpleITK.WriteImage(hu, str(tmp_path / "in" / "normal" / "v.nii.gz"))
    out = tmp_path / "out"
    assert main(["eda", str(tmp_path / "in"), "--out", str(out), "--no-probes", "--size", "16"]) == 0
    with (out / "scans.csv").open(newline="") as file:
        found = [(row["label"], row["format"], row["slices"]) for row in csv.DictReader(file)]
    assert found == [("covid", "dicom", "12"), ("covid", "dicom", "6"), ("normal", "nifti", "7")]


def test_a_window_for_pictures_is_said_to_be_unused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["eda", str(cohort / "data"), "--out", str(cohort / "out"), "--no-probes", "--size", "16"]
    assert main([*argv, "--window", "-1000", "400"]) == 0
    assert "--window is not used" in capsys.readouterr().err
    assert json.loads((cohort / "out" / "eda.json").read_text())["window"] == [-1000, 400]


@pytest.mark.real
def test_real_radiographs_give_their_class_away_by_their_size(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "cxr_darkcovid"
    rows = list(csv.DictReader((source / "split.csv").open(newline="")))[::4]
    with (tmp_path / "part.csv").open("w", newline="") as file:
        lines = [[source / row["path"], row["class"], row["group"]] for row in rows]
        csv.writer(file).writerows([["path", "label", "subject"], *lines])
    options = ["--size", "32", "--resamples", "200"]
    assert main(["eda", str(tmp_path / "part.csv"), "--out", str(tmp_path / "out"), *options]) == 0
    record = json.loads((tmp_path / "out" / "eda.json").read_text())
    size = next(probe for probe in record["shortcuts"] if probe["features"] == "image size")
    assert size["by_class"]["Covid-19"]["low"] > 0.9  # crops of figures, where the others are squares
    assert "Covid-19" in size["warning"]
    assert record["total"]["scans"] == len(rows)
