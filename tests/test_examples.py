"""Every script in ``examples`` runs with ``--fast``, is short, says how to run it, and writes into ``--out`` alone."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import sys
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
SHARE = r"[01]\.\d{3}"


def run(script: Path, folder: Path) -> None:
    """Run a script as a program, in this process: each interpreter of its own would import torch for seconds."""
    from pytorch_lightning.utilities.seed import isolate_rng

    arguments = ["--fast", *(["--out=out"] if '"--out"' in script.read_text() else [])]
    environment = {"COVIDCT_CACHE": str(folder / "the user's cache")}
    with (
        chdir(folder),
        isolate_rng(),
        patch.dict(os.environ, environment),
        patch.object(sys, "argv", [str(script), *arguments]),
    ):
        runpy.run_path(str(script), run_name="__main__")


def check_own_loop(lines: list[str], out: Path) -> None:
    assert re.fullmatch(rf"epoch 0: validation AUROC {SHARE}", lines[0])
    assert (out / "best.ckpt").is_file()


def check_own_dataset(lines: list[str], out: Path) -> None:
    assert lines[0] == "scans: {'train': 8, 'val': 2, 'test': 2}"  # two scans of each patient, never parted


def check_callbacks(lines: list[str], out: Path) -> None:
    left = {*lines, *(name.partition("/")[0] for name in lines)}
    assert {
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "figures",
        "metrics/test/metrics.json",
        "run.json",
    } <= left
    assert {"metrics/val/roc.png", "predictions-test.csv", "predictions-predict.csv", "throughput.json"} <= left


def check_cohort(lines: list[str], out: Path) -> None:
    status = sorted(line.split()[1] for line in lines)
    assert status == ["done", "done", "failed"]
    assert "The file ends too early" in next(line for line in lines if " failed " in line)
    assert len((out / "cohort.csv").read_text().splitlines()) == 4


def check_curation(lines: list[str], out: Path) -> None:
    assert re.fullmatch(
        r"near duplicates: row-\d{5} \(test\) and row-\d{5} \(train\), correlation (1\.00|0\.9\d)", lines[0]
    )
    probes = {line.partition(":")[0]: line for line in lines if "AUROC" in line}
    assert all("WARNING" in probes[name] for name in ("borders", "corners", "all together"))
    assert "WARNING" not in probes["image size"]
    assert re.fullmatch(r"distance of the parts: \d+\.\d\d", lines[-1])


def check_lung_unet(lines: list[str], out: Path) -> None:
    scores = [[float(value) for value in line.split()[1:]] for line in lines if re.match(r"phantom-lungs-\d", line)]
    assert len(scores) == 2
    assert all(len(row) == 4 and 0 <= min(row) <= max(row) <= 1 for row in scores)
    assert min(max(row[2:]) for row in scores) > 0.5, "the classical method finds the lungs"


def check_slice_unet(lines: list[str], out: Path) -> None:
    (dice,) = (float(line.split()[4].rstrip(",")) for line in lines if ", morphology: Dice " in line)
    assert dice > 0.7, "morphology finds the lungs"


def check_masked_gap_study(lines: list[str], out: Path) -> None:
    assert lines[0] == "seed0 done"
    assert "  Mask-weighted GAP   accuracy 0.9554" in lines  # (557 + 1413) / 2062
    assert len([line for line in lines if re.search(rf"AUROC {SHARE} \(seeds {SHARE}\)", line)]) == 4
    assert {f"study.{suffix}" for suffix in ("html", "json", "csv")} <= {file.name for file in out.iterdir()}


def check_resnext_plus_slices(lines: list[str], out: Path) -> None:
    (line,) = lines
    assert re.match(rf"seed 0 .*test_auroc {SHARE}.* test_slice_auroc {SHARE}", line)


def check_mask_net(lines: list[str], out: Path) -> None:
    scores = f"stage1: test_coco_map {SHARE} test_reference_map {SHARE} test_reference_map_lesions {SHARE}"
    assert re.fullmatch(scores, lines[0])
    assert re.fullmatch(f"stage2: test_accuracy {SHARE}", lines[1])
    assert {"stage1.ckpt", "stage2.ckpt"} <= {file.name for file in out.iterdir()}


def check_xray_lungs(lines: list[str], out: Path) -> None:
    assert re.fullmatch(f"validation Dice {SHARE}", lines[0])
    assert re.search(rf"Dice {SHARE}, lungs cover \d+\.\d %", lines[1])


def check_self_trans(lines: list[str], out: Path) -> None:
    assert len([line for line in lines if re.search(f"AUROC(?: of the nearest neighbours)? {SHARE}$", line)]) == 3


def check_gated_ensemble(lines: list[str], out: Path) -> None:
    assert lines[:3] == ["low-0 trained", "high-0 trained", "high-1 trained"]
    assert (out / "ensemble.ckpt").is_file()


def nothing(lines: list[str], out: Path) -> None:
    """Scripts of which it is enough that they run."""


def found_check(script: Path) -> Callable[[list[str], Path], None]:
    check: Callable[[list[str], Path], None] = globals().get(f"check_{script.stem[3:]}", nothing)
    return check


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_runs(script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(script, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert 0 < len(lines) <= 40
    assert {file.name for file in tmp_path.iterdir()} <= {"out"}
    found_check(script)(lines, tmp_path / "out")
    shutil.rmtree(tmp_path / "out", ignore_errors=True)  # checkpoints are large


def test_every_check_has_a_script() -> None:
    checks = {name.removeprefix("check_") for name in globals() if name.startswith("check_")}
    assert checks <= {script.stem[3:] for script in SCRIPTS}


def test_scripts_are_numbered_short_and_say_how_they_are_run() -> None:
    overview = (EXAMPLES / "README.md").read_text()
    assert [script.name[:3] for script in SCRIPTS] == [f"{number:02}_" for number in range(1, len(SCRIPTS) + 1)]
    for script in SCRIPTS:
        text = script.read_text()
        assert len(text.splitlines()) < 80, script.name
        assert f"    python examples/{script.name} --fast" in (ast.get_docstring(ast.parse(text)) or ""), script.name
        assert f"[{script.name}]({script.name})" in overview, script.name
