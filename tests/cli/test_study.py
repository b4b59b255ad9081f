"""``covidct study``: the list of studies, one small study on phantoms and one on a manifest, refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from covidct import RESEARCH_USE
from covidct.__main__ import main
from tests.fakes.checkpoint import phantom, write_nifti
from tests.test_public_api import modules_after

FILES = {"study.html", "study.json", "study.csv"}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared scans of all tests in one place."""
    monkeypatch.setenv("COVIDCT_CACHE", str(tmp_path_factory.getbasetemp() / "studies"))


def test_help_names_the_studies_and_loads_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--help"]) == 0
    assert "masked-gap" in capsys.readouterr().out
    assert main(["study"]) == 2
    assert modules_after("from covidct.cli import run; run(['study', '--help'])") == set()


def test_phantoms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["study", "masked-gap", "--phantoms", f"--out={out}", "--num-subjects=12"]
    small = ["--seeds", "0", "1", "--resamples=20", "--slice-size=64"]
    assert main([*arguments, *small]) == 0
    assert {file.name for file in out.iterdir() if file.is_file()} == FILES
    record = json.loads((out / "study.json").read_text())
    assert set(record["sections"]) == {"plain", "confounded"}
    assert all(section["seeds"] == [0, 1] for section in record["sections"].values())
    tested = record["sections"]["plain"]["tests"][0]["mcnemar"]
    reports = record["sections"]["plain"]["seed_reports"]["mean"].values()
    cases = sum(report["cases"] for report in reports)
    assert sum(tested[name] for name in ("both", "only_a", "only_b", "neither")) == cases > 0
    shown = capsys.readouterr().out
    assert RESEARCH_USE in shown
    assert "Mask-weighted GAP" in shown
    assert "0.964" in shown or "0.965" in shown  # the paper's sensitivity beside ours
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*seed*.json")}
    assert len(before) == 2
    assert main([*arguments, *small]) == 0
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*seed*.json")} == before


@pytest.mark.slow
def test_a_manifest_of_scans(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        diagnosis = ("normal", "covid")[number % 2]
        path = write_nifti(tmp_path / "scans" / f"{number}.nii.gz", phantom(number, diagnosis))
        rows.append({"path": path.name, "label": diagnosis, "subject": f"patient-{number}"})
    manifest = tmp_path / "scans" / "cohort.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "subject"])
        writer.writeheader()
        writer.writerows(rows)
    config = tmp_path / "study.yaml"
    config.write_text(
        f"manifest: {manifest}\nepochs: 1\nbackbone: resnet18\nsize: 32\nslice_size: 40\nseeds: [4]\n"
        "accelerator: cpu\nresamples: 10\ntest_fraction: 0.5\n"
    )
    out = tmp_path / "out"
    assert main(["study", "masked-gap", f"--config={config}", f"--out={out}"]) == 0
    record = json.loads((out / "study.json").read_text())
    assert record["sections"]["test"]["seeds"] == [4]
    assert record["sections"]["test"]["reports"]["mask"]["cases"] == 4
    assert "patient-" not in "".join(file.read_text() for file in out.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "masked-gap"),
        (["masked-gap", "--out=x"], "--phantoms"),
        (["masked-gap", "--out=x", "--phantoms", "--manifest=y.csv"], "either"),
        (["masked-gap", "--phantoms"], "out"),
        (["masked-gap", "--phantoms", "--out=x", "--epochs=3", "--split-seed=1"], "--epochs, --split-seed"),
        (["masked-gap", "--phantoms", "--out=x", "--epochs=many"], "epochs"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
