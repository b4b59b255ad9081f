"""``covidct otdd``: a ranking and both experiments on small folders; faults are exit codes and one sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from covidct.__main__ import main
from tests.fakes.contrast_pictures import grey, picture, write
from tests.report.page import Page

FILES = {"otdd.html", "otdd.json", "otdd.csv", "label_distances.csv", "heat_map_1.png"}
FAST = ["--resamples", "3", "--size", "8", "--label-from-folder"]


def folder(place: Path, *, brightness: float, seed: int, patients: int = 8) -> Path:
    """Pictures of ill and well patients, two each, as ``class/Meyer<patient>_<k>.png``."""
    rng = np.random.default_rng(seed)
    for number in range(patients):
        ill, contrast = bool(number % 2), 0.15 if number // 2 % 2 else 0.6
        for k in range(2):
            image = picture(rng, ill=ill, contrast=contrast, brightness=brightness)
            write(place / ("ill" if ill else "well") / f"Meyer{number:02d}_{k}.png", image)
    return place


def test_ranking_puts_the_nearest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder(tmp_path / "target", brightness=0.5, seed=0)
    near = folder(tmp_path / "near", brightness=0.5, seed=1)
    far = folder(tmp_path / "far", brightness=0.8, seed=2)
    out = tmp_path / "out"
    options = ["--subject-pattern", r"^Meyer(\d+)", *FAST]
    argv = ["otdd", "--target", str(target), "--candidates", str(far), str(near), "--out", str(out), *options]
    assert main(argv) == 0
    captured = capsys.readouterr()
    assert {file.name for file in out.iterdir()} == FILES | {"heat_map_2.png"}
    record = json.loads((out / "otdd.json").read_text())
    assert [one["set"] for one in record["sets"]] == ["near", "far"]
    assert [one["nearest_share"] for one in record["sets"]] == [1, 0]
    assert record["sets"][0]["low"] <= record["sets"][0]["distance"] <= record["sets"][0]["high"]
    assert record["sets"][0]["same_class_nearest"] == {"ill": True, "well": True}
    assert record["first"] == "target"
    assert record["floor"] > 0
    assert record["sets"][0]["halves_mean"] < record["sets"][1]["halves_mean"]
    assert record["sets"][0]["fewest_subjects"] == 4
    with (out / "otdd.csv").open() as file:
        assert [row["set"] for row in csv.DictReader(file)] == ["near", "far"]
    with (out / "label_distances.csv").open() as file:
        pairs = list(csv.DictReader(file))
    assert len(pairs) == 8
    assert sum(float(row["moved"]) for row in pairs if row["set"] == "far") == pytest.approx(1)
    page = Page(out / "otdd.html")
    assert "Data sets near target" in page.source
    texts = [captured.out, captured.err, *(path.read_text() for path in out.iterdir() if path.suffix != ".png")]
    assert not any("Meyer" in text for text in texts)


def test_sets_that_cannot_be_halved_have_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = folder(tmp_path / "cohort", brightness=0.5, seed=0, patients=4), tmp_path / "out"
    options = ["--subject-pattern", r"^Meyer(\d+)", *FAST]
    assert main(["otdd", str(source), "--experiment", "contrast", "--out", str(out), *options]) == 0
    captured = capsys.readouterr()
    assert "one subject only" in " ".join(captured.err.split())
    (one,) = json.loads((out / "otdd.json").read_text())["sets"]
    assert (one["low"], one["high"], one["halves_mean"], one["fewest_subjects"]) == (None, None, None, 1)
    assert one["subjects"] == one["other_subjects"] == {"ill": 1, "well": 1}
    assert one["same_class_share"] == {"ill": None, "well": None}
    page = Page(out / "otdd.html")
    assert "needs two subjects of each class" in " ".join(page.text.split())
    assert "nan" not in page.text.lower().split()
    ranked = ["otdd", "--target", str(source), "--candidates", str(source), "--out", str(out), *options]
    assert main([*ranked[:-1], "--subject-pattern", "(M)", "--label-from-folder"]) == 0
    assert json.loads((out / "otdd.json").read_text())["floor"] is None
    assert "unknown" in Page(out / "otdd.html").text


@pytest.mark.parametrize("experiment", ["equalised", "contrast"])
def test_experiments_of_the_document(experiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = folder(tmp_path / "cohort", brightness=0.5, seed=0), tmp_path / "out"
    options = ["--subject-pattern", r"^Meyer(\d+)", *FAST]
    assert main(["otdd", str(source), "--experiment", experiment, "--out", str(out), *options]) == 0
    assert {file.name for file in out.iterdir()} == FILES
    (one,) = json.loads((out / "otdd.json").read_text())["sets"]
    assert one["classes"] == one["other_classes"] == ["ill", "well"]
    assert one["nearest_share"] is None
    if experiment == "equalised":
        assert one["samples"] == one["other_samples"] == 16
    else:
        assert (one["samples"], one["other_samples"]) == (8, 8)
        assert "4 subjects of low and 4 of high contrast" in " ".join(capsys.readouterr().err.split())
    image = grey(out / "heat_map_1.png")
    assert image.shape[0] > 200
    assert image.std() > 20


def test_a_table_a_network_and_other_options(tmp_path: Path) -> None:
    source = folder(tmp_path / "cohort", brightness=0.5, seed=0, patients=4)
    rows = [
        "file,kind",
        *(f"cohort/{path.parent.name}/{path.name},{path.parent.name}" for path in source.rglob("*.png")),
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    argv = ["otdd", str(tmp_path / "t.csv"), "--path-column", "file", "--label-column", "kind", "--out", str(out)]
    argv += ["--experiment", "equalised", "--equalisation", "he", "--features", "resnet18", "--size", "32"]
    argv += ["--outer", "entropic", "--label-distance", "exact", "--resamples", "2", "--device", "cpu"]
    assert main(argv) == 0
    record = json.loads((out / "otdd.json").read_text())
    assert record["sets"][0]["solver"] == "entropic"
    assert record["run"]["features"] == "resnet18"
    assert record["run"]["equalisation"] == "he"


def test_unreadable_entries_are_said_without_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = folder(tmp_path / "cohort", brightness=0.5, seed=0), tmp_path / "out"
    (source / "ill" / "Meyer00_broken.png").write_bytes(b"no picture")
    assert main(["otdd", str(source), "--experiment", "equalised", "--out", str(out), *FAST]) == 1
    assert "1 entries could not be read" in capsys.readouterr().err
    page = (out / "otdd.html").read_text()
    assert "row-00001" in page
    assert "Meyer" not in page


def test_wrong_usage_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = folder(tmp_path / "cohort", brightness=0.5, seed=0, patients=2)
    out = ["--out", str(tmp_path / "out")]
    both = ["--target", str(source), "--candidates", str(source), "--label-from-folder"]
    for argv, code in [
        ([*out], 2),
        ([str(source), *out], 2),
        (["--target", str(source), *out], 2),
        (["--candidates", str(source), *out], 2),
        ([str(source), "--experiment", "equalised", *both, *out], 2),
        ([str(source), "--experiment", "sharpened", *out], 2),
        ([str(source), "--experiment", "equalised", "--out", str(source / "ill" / "Meyer01_0.png")], 2),
        ([*both, "--weights", "IMAGENET1K_V1", *out], 2),
        ([*both, "--features", "resnet19", *out], 2),
        ([*both, "--size", "0", *out], 2),
        ([*both, "--resamples", "1", *out], 2),
        ([*both, "--epsilon", "0", *out], 2),
        ([str(tmp_path / "none.csv"), "--experiment", "equalised", *out], 3),
    ]:
        assert main(["otdd", *argv]) == code, argv
        lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("reading")]
        assert len(lines) == 1, lines
        assert lines[0].startswith("covidct: error: ")


def test_sets_of_one_name_are_numbered(tmp_path: Path) -> None:
    places = [folder(tmp_path / part / "set", brightness=0.5, seed=k) for k, part in enumerate("abc")]
    out = tmp_path / "out"
    argv = ["otdd", "--target", str(places[0]), "--candidates", *map(str, places[1:]), "--out", str(out), *FAST]
    assert main(argv) == 0
    record = json.loads((out / "otdd.json").read_text())
    assert record["first"] == "set"
    assert sorted(one["set"] for one in record["sets"]) == ["set (2)", "set (3)"]
