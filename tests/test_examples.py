"""The numbered examples run as they are printed, made small."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str, folder: Path) -> str:
    """What an example prints, run as a program of its own in ``folder``."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_masked_gap_study(tmp_path: Path) -> None:
    small = ["--subjects=12", "--seeds", "0", "1", "--out=out"]
    lines = run("01_masked_gap_study", *small, folder=tmp_path).splitlines()
    assert [line for line in lines if line.endswith("done")] == ["seed0 done", "seed1 done"]
    assert "  Mask-weighted GAP   accuracy 0.9554" in lines  # (557 + 1413) / 2062
    assert len([line for line in lines if re.search(r"AUROC [01]\.\d{3} \(seeds [01]\.\d{3} ", line)]) == 4
    assert {f"study.{suffix}" for suffix in ("html", "json", "csv")} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }


def test_lung_unet(tmp_path: Path) -> None:
    small = ["--scans=2", "--epochs=1", "--size=16", "--detail=0.15", "--cache=cache", "--out=out"]
    lines = run("02_lung_unet", *small, folder=tmp_path).splitlines()
    rows = [line.split() for line in lines if re.match(r"phantom-lungs-\d", line)]
    assert len(rows) == 4
    scores = [[float(value) for value in row[1:]] for row in rows]
    assert all(len(row) == 4 and 0 <= min(row) <= max(row) <= 1 for row in scores)
    assert min(max(row[2:]) for row in scores) > 0.5, "the classical method finds the lungs"
    assert (tmp_path / "out" / "lung_unet.ckpt").is_file()


@pytest.mark.slow
def test_resnext_plus_slices(tmp_path: Path) -> None:
    small = ["--subjects=12", "--epochs=1", "--seeds", "0", "3", "--size=32", "--depth=12", "--slices=6"]
    lines = run("03_resnext_plus_slices", *small, folder=tmp_path).splitlines()
    found = [
        line for line in lines if re.match(r"seed [03] .*test_auroc [01]\.\d{3}.* test_slice_auroc [01]\.\d{3}", line)
    ]
    assert len(found) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_mask_net(tmp_path: Path) -> None:
    small = ["--subjects=9", "--epochs=1", "--epochs2=1", "--size=64", "--out=out"]
    lines = run("04_mask_net", *small, folder=tmp_path).splitlines()
    share = r"[01]\.\d{3}"
    scores = rf"stage1: test_coco_map {share} test_reference_map {share} test_reference_map_lesions {share}"
    assert [line for line in lines if re.fullmatch(scores, line)]
    assert re.fullmatch(rf"stage2: test_accuracy {share}", lines[-1])
    assert {"stage1.ckpt", "stage2.ckpt"} <= {file.name for file in (tmp_path / "out").iterdir()}


@pytest.mark.slow
def test_curation(tmp_path: Path) -> None:
    lines = run("05_curation", "--subjects=30", folder=tmp_path).splitlines()
    assert re.fullmatch(
        r"near duplicates: row-\d{5} \(test\) and row-\d{5} \(train\), correlation (1\.00|0\.9\d)", lines[0]
    )
    probes = {line.partition(":")[0]: line for line in lines if "AUROC" in line}
    assert all("WARNING" in probes[name] for name in ("borders", "corners", "all together"))
    assert "WARNING" not in probes["image size"]
    assert re.fullmatch(r"distance of the parts: \d+\.\d\d", lines[-1])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_xray_lungs(tmp_path: Path) -> None:
    lines = run("06_xray_lungs", "--subjects=12", "--epochs=1", "--out=out", folder=tmp_path).splitlines()
    assert re.search(r"validation Dice [01]\.\d{3}$", lines[0])
    assert len([line for line in lines[1:] if re.search(r"Dice [01]\.\d{3}, lungs cover \d+\.\d %", line)]) == 5
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["xray_lungs.ckpt"]
