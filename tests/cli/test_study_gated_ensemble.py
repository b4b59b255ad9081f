"""``covidct study gated-ensemble`` on a few phantoms, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from covidct.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_phantoms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    small = "--num-subjects 24 --size 40 --depth 6 --epochs 1 --seeds 5 --looks same --accelerator cpu --resamples 10"
    folders = ["--out", str(out), "--cache-dir", str(tmp_path / "cache")]
    assert main(["study", "gated-ensemble", "--phantoms", *folders, *small.split()]) == 0
    shown = capsys.readouterr().out
    assert "macro F1, Gated ensemble minus One model:" in shown
    record = json.loads((out / "study.json").read_text())
    assert set(record["sections"]) == {"same"}
    assert record["run"]["seeds"] == [5]
    assert record["run"]["preprocessing"]["size"] == 40


@pytest.mark.parametrize(
    ("arguments", "words"), [([], "--phantoms"), (["--phantoms", "--looks", "odd"], "looks"), (["--seeds"], "seeds")]
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "gated-ensemble", "--out", str(tmp_path / "out"), *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
