"""``covidct study slice-classifiers`` on a few phantoms, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from covidct.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

SMALL = "--backbones resnet18 --attentions none --losses cross_entropy focal --optimizers adam --folds 2 --members 2"
FAST = "--epochs 1 --size 32 --accelerator cpu --resamples 10 --fusion vote"


@pytest.mark.slow
def test_phantoms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    arguments = ["--phantoms", "--num-subjects", "15", "--out", str(out), "--cache-dir", str(cache)]
    assert main(["study", "slice-classifiers", *arguments, *SMALL.split(), *FAST.split()]) == 0
    shown = capsys.readouterr().out
    assert "Cross-validation" in shown
    assert "Fusion of the 2 members" in shown
    assert "macro F1, Fusion of the 2 members minus resnet18" in shown
    record = json.loads((out / "study.json").read_text())
    assert record["run"]["fusion"] == "vote"
    assert len(list((out / "runs").glob("*.json"))) == 4
    assert {file.name for file in out.iterdir() if file.is_file()} == {"study.html", "study.json", "study.csv"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--covid-ct FOLDER"),
        (["--phantoms", "--covid-ct", "x"], "Give one of"),
        (["--covid-ct", "x", "--num-subjects", "9"], "--num-subjects"),
        (["--phantoms", "--attentions", "senet"], "se, eca, cbam"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "slice-classifiers", "--out", str(tmp_path / "out"), *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
