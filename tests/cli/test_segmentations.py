"""A U-Net through the command line: the shipped configuration, scores per scan, volumes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from covidct import RESEARCH_USE
from covidct.__main__ import main
from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.metrics import segmentation_scores
from covidct.tasks import UNet3dTask, load_task

CONFIG = Path(__file__).parents[2] / "examples" / "configs" / "unet3d.yaml"
SHAPE = (16, 32, 32)
DATASET = ["--data.dataset=PhantomCTVolumes", "--data.dataset.num_subjects=6", f"--data.dataset.shape={list(SHAPE)}"]
SPLIT = ["--data.val_fraction=0.34", "--data.test_fraction=0.34"]
DATA = ["--data=CTVolumeDataModule", *DATASET, *SPLIT]
QUIET = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unet3d")


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a cache of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COVIDCT_CACHE", str(folder / "cache"))
    return folder


@pytest.fixture
def checkpoint(place: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Trained for a step by ``covidct fit`` on the shipped configuration; made once."""
    saved = place / "unet3d.ckpt"
    if not saved.exists():
        small = ["--model.channels=[4,8]", "--data.size=16", "--data.num_workers=0", "--trainer.max_epochs=1"]
        assert main(["fit", "--config", str(CONFIG), *DATASET, *SPLIT, *small, *QUIET[:1]]) == 0, capsys.readouterr()
        (best,) = [path for path in place.rglob("*.ckpt") if path.name != "last.ckpt"]
        best.rename(saved)
    return saved


def test_the_shipped_configuration_trains_and_keeps_the_best_by_dice(checkpoint: Path) -> None:
    task = load_task(checkpoint)
    assert isinstance(task, UNet3dTask)
    assert task.preprocessing is not None
    assert task.preprocessing.classes == task.class_names
    assert task.preprocessing.mask_source == "file"
    kept = torch.load(checkpoint, weights_only=True)["callbacks"]["Checkpoints"]
    assert kept["monitor"] == "val_dice"
    assert 0 <= kept["best"] <= 1


def test_test_writes_the_scores_of_each_scan(place: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", f"--ckpt_path={checkpoint}", *DATA, *QUIET, "--out=report"]) == 0, capsys.readouterr().err
    found = rows_of(place / "report" / "scores.csv")
    data = CTVolumeDataModule(
        PhantomCTVolumes(6, shape=SHAPE), size=16, mask_source="file", val_fraction=0.34, test_fraction=0.34
    )
    data.prepare_data()
    data.setup("test")
    task, dice = load_task(checkpoint), []
    for batch in data.test_dataloader():
        with torch.inference_mode():
            mask = task.predict_step(batch, 0)["mask"]
        scores = segmentation_scores(mask, batch["lung_mask"], structures=2, spacing=batch["spacing"])
        dice += scores[..., 0].flatten().tolist()
        for name, (right, left) in zip(batch["id"], scores.tolist(), strict=True):
            row = found.pop(name)
            wanted = dict(zip(("dice", "hd95", "surface_dice"), zip(right, left, strict=True), strict=True))
            for key, values in wanted.items():
                for lung, value in zip(("right_lung", "left_lung"), values, strict=True):
                    assert float(row[f"{key}_{lung}"]) == pytest.approx(value, abs=1e-5)
            assert row["research_use"] == RESEARCH_USE
    assert not found
    metrics = json.loads((place / "report" / "metrics.json").read_text())
    assert metrics["cases"] == len(metrics["scans"]) == len(data.records("test")) > 0
    means = metrics["mean"]
    assert (means["dice_right_lung"] + means["dice_left_lung"]) / 2 == pytest.approx(sum(dice) / len(dice), abs=1e-5)
    assert metrics["run"]["task"] == "UNet3dTask"
    assert not (place / "report" / "report.html").exists()


def test_predict_writes_volumes_and_needs_no_masks(
    place: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = PhantomCTVolumes.load

    def without_masks(self: PhantomCTVolumes, source: int) -> object:
        raw = load(self, source)
        return type(raw)(raw.scan)

    monkeypatch.setattr(PhantomCTVolumes, "load", without_masks)
    assert main(["predict", f"--ckpt_path={checkpoint}", *DATA, *QUIET, "--out=p.csv"]) == 0, capsys.readouterr().err
    found = rows_of(place / "p.csv")
    assert len(found) == 6
    assert all(float(row["volume_ml_right_lung"]) >= 0 for row in found.values())


def test_validate_prints_the_scores(place: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", f"--ckpt_path={checkpoint}", *DATA, *QUIET]) == 0
    assert "val_dice_right_lung" in capsys.readouterr().out


def test_scores_need_masks(place: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["test", f"--ckpt_path={checkpoint}", *DATA, *QUIET, "--data.mask_source=none"]
    assert main([*arguments, "--out=none"]) != 0
    assert "lung_mask" in capsys.readouterr().err
