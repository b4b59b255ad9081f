from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import covidct
from covidct.cli.ensemble import make_parser
from covidct.cli.main import run
from covidct.functional import ContrastSplit
from covidct.inference import triage
from covidct.tasks import GatedEnsembleTask, load_task, save_task
from tests.fakes.cohort import write_volumes


def expert(fusion: str) -> dict[str, Any]:
    options = {"num_classes": 3, "backbone": "resnet18", "slice_size": 32, "fusion": fusion}
    return {"task": {"class_path": "covidct.tasks.MaskedGAPResNetTask", "init_args": options}, "epochs": 1}


def config(folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    record = {
        "data": {
            "class_path": "covidct.datamodules.CTVolumeDataModule",
            "init_args": {
                "dataset": {
                    "class_path": "covidct.datasets.PhantomTwoContrasts",
                    "init_args": {"num_subjects": 24, "shape": [6, 40, 40]},
                },
                "contrast": "rms",
                "enhancement": "equalise_clahe",
                "grid": "slices",
                "size": 32,
                "mask_source": "file",
                "batch_size": 4,
                "augment": False,
                "val_fraction": 0.25,
                "test_fraction": 0.25,
                "cache_dir": str(folder / "cache"),
            },
        },
        "low": [expert("max")],
        "high": [expert("max"), expert("mean")],
        "trainer": {"accelerator": "cpu"},
        "resamples": 20,
        **changes,
    }
    path = folder / "system.yaml"
    path.write_text(yaml.safe_dump(record), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("system")
    assert run(["ensemble", "-c", str(config(folder)), "--out", str(folder / "out")]) == 0
    return folder


def test_one_command_leaves_checkpoint_and_reports(trained: Path) -> None:
    out = trained / "out"
    task = load_task(out / "ensemble.ckpt")
    assert isinstance(task, GatedEnsembleTask)
    assert (len(task.model.low), len(task.model.high)) == (1, 2)
    assert float(task.model.high_weights.sum()) == pytest.approx(1)
    record = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert ContrastSplit.from_dict(record["run"]["gate"]).threshold == float(task.model.threshold)
    assert len(list((out / "experts").glob("*.ckpt"))) == 3
    assert not list((out / "experts").glob("*.epochs"))
    sides = [out / side / "metrics.json" for side in ("low", "high") if (out / side).exists()]
    counts = [json.loads(path.read_text(encoding="utf-8"))["cases"] for path in sides]
    assert sum(counts) == record["cases"] == 6
    assert (out / "report.html").is_file()


def test_experts_that_are_done_are_taken_over(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (trained / "out" / "experts").glob("*.ckpt")}
    assert run(["ensemble", "-c", str(trained / "system.yaml"), "--out", str(trained / "out")]) == 0
    assert {path: path.stat().st_mtime_ns for path in (trained / "out" / "experts").glob("*.ckpt")} == before
    printed = capsys.readouterr().out
    assert "gate: rms contrast" in printed
    assert "f1-score" in printed


def test_triage_takes_the_ensemble(trained: Path, tmp_path: Path) -> None:
    table = pd.read_csv(write_volumes(tmp_path, 2))
    scan = tmp_path / table["path"][0]
    cohort = triage([scan], checkpoint=_without_masks(trained, tmp_path), explain=True)
    assert [result.error for result in cohort.scans] == [""]
    assert sum(cohort.scans[0].probabilities.values()) == pytest.approx(1, abs=1e-5)


def _without_masks(trained: Path, folder: Path) -> Path:
    """The ensemble as trained with masks by threshold, which a scan alone has."""
    task = load_task(trained / "out" / "ensemble.ckpt")
    assert task.preprocessing is not None
    task.preprocessing = replace(task.preprocessing, mask_source="threshold")
    save_task(task, folder / "gate.ckpt")
    return folder / "gate.ckpt"


def test_the_shipped_system_parses_and_is_complete(tmp_path: Path) -> None:
    path = Path(covidct.__file__).parents[1] / "examples" / "configs" / "gated_system.yaml"
    found = make_parser("ensemble").parse_args([f"--config={path}", f"--out={tmp_path}"])
    assert found.clean, "hash cleaning"
    data = found.data.init_args
    assert (data.masking, data.mask_source) == ("lungs", "lung_field"), "background removal"
    assert (data.enhancement, data.contrast, data.contrast_side) == ("equalise_clahe", "rms", None)
    tasks = {side: [one.task.class_path.rpartition(".")[2] for one in found[side]] for side in ("low", "high")}
    assert tasks == {"low": ["TwoLevelTask"], "high": ["COVNetTask", "COVNetTask"]}
    weights = [one.task.init_args.weights for side in ("low", "high") for one in found[side]]
    assert weights == ["IMAGENET1K_V1"] * 3, "no expert of the shipped system starts from random weights"
    assert found.fusion == "mean"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"low": []}, "at least one"),
        ({"clean": True}, "manifest"),
        ({"trainer": {"accelerator": "cpu", "devices": 2}, "clean": True}, "devices=2"),
    ],
)
def test_wrong_systems_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["ensemble", "-c", str(config(tmp_path, **changes)), "--out", str(tmp_path / "out")])
    assert code == 2
    assert words in capsys.readouterr().err
