"""``covidct audit``: what leaks is on the terminal, on the page and in the files, and nobody's name."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidct.__main__ import main
from tests.report.page import Page

FILES = {"audit.html", "audit.json", "pairs.csv", "subjects.csv"}
COLUMNS = ["--path-column", "file", "--label-column", "class", "--subject-column", "who", "--split-column", "part"]


def picture(seed: int) -> np.ndarray:
    """Smooth blobs, each its own."""
    noise = np.random.default_rng(seed).normal(size=(72, 72)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX), np.uint8)  # type: ignore[call-overload]


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Six pictures; Meyer0 is in two splits, the picture of Meyer1 is in two splits with two labels."""
    (tmp_path / "data").mkdir()
    rows = []
    for number in range(6):
        name = f"Meyer{number}.png"
        copy = cv2.resize(picture(1), (90, 90)) if number == 5 else picture(number)
        assert cv2.imwrite(str(tmp_path / "data" / name), np.asarray(copy))
        who = "No-0" if number in (0, 4) else f"No-{number}"
        rows.append([f"data/{name}", "ill" if number < 3 else "well", who, "train" if number < 4 else "test"])
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "class", "who", "part"], *rows])
    return tmp_path


def test_leaks_are_found_and_shown(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = cohort / "out"
    assert main(["audit", str(cohort / "t.csv"), *COLUMNS, "--out", str(out), "--no-probes"]) == 0
    captured = capsys.readouterr()
    assert {file.name for file in out.iterdir()} == FILES
    record = json.loads((out / "audit.json").read_text())
    assert record["leaks"]
    assert record["subjects_in_several_splits"] == [{"train": ["row-00001"], "test": ["row-00005"]}]
    assert record["subjects_with_several_labels"] == [{"ill": ["row-00001"], "well": ["row-00005"]}]
    (pair,) = record["pairs"]
    assert (pair["first"]["id"], pair["second"]["id"]) == ("row-00002", "row-00006")
    assert pair["across_splits"]
    assert pair["labels_differ"]
    assert record["run"]["min_correlation"] == 0.9
    rows = list(csv.DictReader((out / "pairs.csv").open(newline="")))
    assert [(row["first_id"], row["second_id"], row["kind"]) for row in rows] == [("row-00002", "row-00006", "near")]
    assert len(list(csv.DictReader((out / "subjects.csv").open(newline="")))) == 4
    assert "row-00006" in captured.out
    page = Page(out / "audit.html")
    assert "This split leaks" in page.text
    assert len(page.all("img")) == 2
    for text in (captured.out, captured.err, *((out / name).read_text() for name in FILES)):
        assert "Meyer" not in text
        assert "No-0" not in text


def test_exit_codes(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(cohort / "out"), "--no-probes"]
    table = [str(cohort / "t.csv"), *COLUMNS]
    assert main(["audit", *table, *out, "--fail-on-leak"]) == 1
    assert "the split leaks" in capsys.readouterr().err
    # folders without splits cannot leak
    assert main(["audit", str(cohort / "data"), *out, "--fail-on-leak", "--subject-pattern", r"(\d)"]) == 0
    (cohort / "data" / "Meyer3.png").write_bytes(b"no picture")
    assert main(["audit", *table, *out]) == 1
    assert "1 of 6 entries could not be read" in capsys.readouterr().err
    for argv, code in [
        ([str(cohort / "nowhere.csv"), *out], 3),
        ([str(cohort / "t.csv"), *out], 3),  # no column path
        ([*table, "--out", str(cohort / "t.csv")], 2),
        ([*table, *out, "--min-correlation", "0"], 2),
        ([*table, *out, "--max-distance", "65"], 2),
        ([*table], 2),
        ([*table, *out, "--window", "1", "1"], 2),
        ([*table, *out, "--shown", "-1"], 2),
        ([*table, *out, "--resamples", "-1"], 2),
    ]:
        capsys.readouterr()
        assert main(["audit", *argv]) == code, argv
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("reading")]
        assert len(said) == 1, said
        assert said[0].startswith("covidct: error:")


@pytest.mark.real
def test_one_article_is_in_two_splits_of_the_published_set(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "covid_ct"
    rows = [r for r in csv.DictReader((source / "index.csv").open(newline="")) if "2020.03.13" in r["path"]][::2]
    with (tmp_path / "part.csv").open("w", newline="") as file:
        lines = [[source / row["path"], row["class"], row["split"]] for row in rows]
        csv.writer(file).writerows([["path", "label", "split"], *lines])
    options = ["--subject-pattern", r"^(\d{4}\.\d\d\.\d\d\.\d+)", "--no-probes", "--out", str(tmp_path / "out")]
    assert main(["audit", str(tmp_path / "part.csv"), *options]) == 0
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    expected: dict[str, set[str]] = {}
    for row in rows:
        expected.setdefault("-".join(Path(row["path"]).name.split("-")[:1]), set()).add(row["split"])
    leaking = [parts for parts in expected.values() if len(parts) > 1]
    assert len(leaking) == len(record["subjects_in_several_splits"]) == 1


def test_a_copy_without_split_hides_no_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), picture(0))
    table = "path,label,split\na.png,,\nb.png,covid,train\nc.png,normal,test\n"
    (tmp_path / "t.csv").write_text(table)
    argv = ["audit", str(tmp_path / "t.csv"), "--out", str(tmp_path / "out"), "--no-probes", "--fail-on-leak"]
    assert main(argv) == 1
    assert "split is unknown" in " ".join(capsys.readouterr().out.split())
    record = json.loads((tmp_path / "out" / "audit.json").read_text())
    told = [(pair["first"]["id"], pair["second"]["id"], pair["across_splits"]) for pair in record["pairs"]]
    assert told == [
        ("row-00001", "row-00002", False),
        ("row-00001", "row-00003", False),
        ("row-00002", "row-00003", True),
    ]
