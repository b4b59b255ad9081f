"""``covidct demo``: small here; once in full as a slow test."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covidct import RESEARCH_USE
from covidct.__main__ import main
from covidct.cli import demo
from covidct.tasks import ClassificationTask, load_task

FILES = {"report.html", "metrics.json", "predictions.csv", "model.ckpt"}


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[pytest.MonkeyPatch]:
    """Phantoms and training as small as can be."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_SHAPE": (24, 32, 32), "_SIZE": 36, "_EPOCHS": 1, "_PICTURED": 2}.items():
            patch.setattr(demo, name, value)
        yield patch


@pytest.fixture(scope="module")
def out(small: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a small run leaves."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--out", str(folder), "--scans", "18"]) == 0
    return folder


def auroc(out: Path) -> float:
    """COVID-19 against the rest, from the predictions alone, by scikit-learn."""
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    truth = [row["label"] == "covid" for row in rows]
    return float(roc_auc_score(truth, [float(row["prob_covid"]) for row in rows]))


def test_the_four_files(out: Path) -> None:
    assert {file.name for file in out.iterdir()} == FILES
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["scores"]["auroc"]["covid"]["value"] == pytest.approx(auroc(out), abs=1e-9)
    assert metrics["run"]["seed"] == 0
    page = (out / "report.html").read_text()
    assert RESEARCH_USE in page
    assert "data:image" in page
    task = load_task(out / "model.ckpt")
    assert isinstance(task, ClassificationTask)
    assert bool(task.cam_scale.any())  # the pictures have a scale
    preprocessing = task.preprocessing
    assert preprocessing is not None
    assert preprocessing.size == 36


def test_the_same_seed_gives_the_same_and_leaves_the_random_state_alone(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.random.seed(5)  # noqa: NPY002  the legacy state is what libraries disturb
    wanted = np.random.rand()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    assert main(["demo", "--out", str(tmp_path / "again"), "--scans", "18"]) == 0
    assert np.random.rand() == wanted  # noqa: NPY002
    assert (tmp_path / "again" / "predictions.csv").read_text() == (out / "predictions.csv").read_text()
    text = capsys.readouterr().out
    assert RESEARCH_USE in text
    assert "Phantoms are test objects" in text


def test_too_few_scans_and_a_file_as_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--scans", "5", "--out", str(tmp_path / "x")]) == 2
    assert "18" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file")]) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_network_learns(small: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small.undo()
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    assert auroc(tmp_path / "demo") >= 0.9
