"""Lesion detectors and slice classifiers through the command line: rows per slice, scores, the slides' table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from covidct import RESEARCH_USE
from covidct.__main__ import main
from covidct.datamodules import CTSliceDataModule
from covidct.datasets import PhantomLesions
from covidct.labels import CLASSES
from covidct.metrics import rates_table, reference_mask_ap
from covidct.models import LesionMaskRCNN
from covidct.sample import collate
from covidct.tasks import load_task
from tests.fakes.lesion_network import detect_by_grey_value, write_lesion_checkpoint, write_slice_checkpoint

SHAPE = (24, 64, 64)
DATASET = [
    "--data.dataset=PhantomLesions",
    "--data.dataset.num_subjects=9",
    "--data.dataset.slices_per_scan=2",
    f"--data.dataset.shape={list(SHAPE)}",
]
DATA = ["--data=CTSliceDataModule", *DATASET, "--data.val_fraction=0.34", "--data.test_fraction=0.34"]
QUIET = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detections")


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the prepared phantoms of all tests; the detector answers by grey value."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COVIDCT_CACHE", str(folder / "cache"))
    monkeypatch.setattr(LesionMaskRCNN, "detect", detect_by_grey_value)
    monkeypatch.setattr(
        LesionMaskRCNN,
        "losses_and_detections",
        lambda self, image, instances: (self.losses(image, instances), self.detect(image)),
    )
    return folder


@pytest.fixture
def lesions(place: Path) -> Path:
    path = place / "lesions.ckpt"
    return path if path.exists() else write_lesion_checkpoint(path)


@pytest.fixture
def slices(place: Path) -> Path:
    path = place / "slices.ckpt"
    return path if path.exists() else write_slice_checkpoint(path)


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def data_module(size: int) -> CTSliceDataModule:
    data = CTSliceDataModule(
        PhantomLesions(9, slices_per_scan=2, shape=SHAPE), size=size, val_fraction=0.34, test_fraction=0.34
    )
    data.prepare_data()
    data.setup("test")
    return data


def test_test_writes_a_row_per_slice(place: Path, lesions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", f"--ckpt_path={lesions}", *DATA, *QUIET, "--out=report"]) == 0, capsys.readouterr().err
    found = rows_of(place / "report" / "scores.csv")
    metrics = json.loads((place / "report" / "metrics.json").read_text())
    task, objects, precisions = load_task(lesions), 0, []
    for batch in data_module(64).test_dataloader():
        with torch.inference_mode():
            predicted = task.predict_step(batch, 0)
        for index, name in enumerate(batch["id"]):
            row, true, one = found.pop(name), batch["instances"][index], predicted["detections"][index]
            assert row["research_use"] == RESEARCH_USE
            objects += len(true["labels"])
            for label, kind in ((1, "ground_glass_opacity"), (2, "consolidation")):
                mine = one["labels"] == label
                assert int(row[f"found_{kind}"]) == int(mine.sum())
                assert int(row[f"true_{kind}"]) == int((true["labels"] == label).sum())
                assert row[f"best_score_{kind}"] == ("" if not mine.any() else f"{float(one['scores'][mine].max())}")
                assert int(row[f"area_px_{kind}"]) == int((predicted["mask"][index] == label).sum())
                assert int(row[f"true_area_px_{kind}"]) == int((batch["lesion_mask"][index] == label).sum())
            precisions.append(float(reference_mask_ap([one], [true]).mean()))
            assert float(row["reference_ap"]) == pytest.approx(precisions[-1], abs=1e-6)
    assert not found
    assert (metrics["slices"], metrics["objects"]) == (len(precisions), objects)
    assert metrics["scores"]["test_reference_map"] == pytest.approx(np.mean(precisions), abs=1e-5)
    assert "test_coco_map" in metrics["scores"]
    assert metrics["run"]["task"] == "LesionMaskRCNNTask"


def test_predict_needs_no_truth(place: Path, lesions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blind = ["--data.dataset.mask_type=both"]
    assert main(["predict", f"--ckpt_path={lesions}", *DATA, *blind, *QUIET, "--out=p.csv"]) == 0, capsys.readouterr()
    found = rows_of(place / "p.csv")
    assert len(found) == 18
    assert not any(key.startswith("true_") for row in found.values() for key in row)


def test_a_slice_classifier_is_reported_slice_by_slice(
    place: Path, slices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", f"--ckpt_path={slices}", *DATA, *QUIET, "--out=slices"]) == 0, capsys.readouterr().err
    found = rows_of(place / "slices" / "predictions.csv")
    report = json.loads((place / "slices" / "metrics.json").read_text())
    task, predicted = load_task(slices), []
    data = data_module(32)
    for batch in data.test_dataloader():
        with torch.inference_mode():
            out = task.predict_step(batch, 0)
        for name, prob, label in zip(batch["id"], out["prob"].tolist(), batch["label"].tolist(), strict=True):
            row = found.pop(name)
            assert [float(row[f"prob_{kind}"]) for kind in CLASSES] == pytest.approx(prob, abs=1e-5)
            predicted.append((label, int(np.argmax(prob))))
    assert not found
    assert report["cases"] == len(predicted) > 0
    assert report["subjects"] == len(predicted) // 2
    confusion = np.zeros((3, 3), int)
    for label, guess in predicted:
        confusion[label, guess] += 1
    with (place / "slices" / "rates.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    wanted = rates_table(confusion, CLASSES)
    assert [row["rate"] for row in table] == list(wanted.index)
    for row in table:
        for column in wanted.columns:
            value = float(wanted[column][row["rate"]])
            assert row[column] == "" if np.isnan(value) else float(row[column]) == pytest.approx(value)
    assert "data:image" in (place / "slices" / "report.html").read_text()


def test_few_slices_have_pictures() -> None:
    from covidct.cli.evaluation import evaluate
    from covidct.tasks import CovidCTMaskNetTask
    from tests.fakes.lesions import TinyLesions

    torch.manual_seed(0)
    task = CovidCTMaskNetTask(backbone="resnet18", truncation=2, num_regions=4, features=4)
    data = TinyLesions(60, size=32)
    batches = [collate([data[index] for index in range(start, start + 12)]) for start in range(0, 60, 12)]
    report, cohort = evaluate(task, batches, run={}, resamples=0)
    assert report.cases == 60
    right = [result for result in cohort.scans if result.predicted == result.label]
    for group in (right, [result for result in cohort.scans if result not in right]):
        assert sum(result.preview is not None for result in group) == min(24, len(group))
