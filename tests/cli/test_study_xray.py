"""``covidct study xray`` on a few phantoms with a tag, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from covidct.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_phantoms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    lists = "--networks resnet18 --normalisations dataset --channels grey rgb --images original no_lungs"
    fast = "--epochs 1 --num-subjects 20 --accelerator cpu --resamples 20"
    arguments = ["--phantoms", "--out", str(out), "--cache-dir", str(cache), *lists.split(), *fast.split()]
    assert main(["study", "xray", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "resnet18, data set statistics, grey: without lungs" in " ".join(shown.split())
    assert "simulated" in (out / "study.html").read_text()
    record = json.loads((out / "study.json").read_text())
    assert len(record["sections"]["all"]["rows"]) == 4
    assert record["run"]["data"] == "PhantomTaggedCXR"
    assert len(list((out / "runs").glob("*.json"))) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--covid-qu-ex"),
        (["--phantoms", "--darkcovid", "x"], "Give one of"),
        (["--darkcovid", "x", "--num-subjects", "9"], "--num-subjects"),
        (["--phantoms", "--classes", "three"], "--classes"),
        (["--darkcovid", "x", "--classes", "covid_vs_rest"], "three or binary"),
        (["--phantoms", "--images", "lung"], "original, lungs, no_lungs"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "xray", "--out", str(tmp_path / "out"), *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
