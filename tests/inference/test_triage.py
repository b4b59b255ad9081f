"""A cohort in memory, and sentences that lead nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from covidct import RESEARCH_USE
from covidct.errors import InputError
from covidct.inference import triage
from covidct.inference.triage import examine
from covidct.io import ScanInput
from covidct.report.plain import plain
from covidct.result import ScanResult
from covidct.volume import Finding
from tests.fakes.checkpoint import phantom, write_nifti


def test_one_result_a_scan_in_order(checkpoint: Path, tmp_path: Path) -> None:
    write_nifti(tmp_path / "in" / "Meier1.nii.gz", phantom(0))
    (tmp_path / "in" / "Meier2.nii").write_bytes(b"damaged")
    cohort = triage([tmp_path / "in"], checkpoint=checkpoint)
    assert [scan.status for scan in cohort.scans] == ["done", "failed"]
    assert cohort.run["research_use"] == RESEARCH_USE
    assert cohort.run["preprocessing"]["classes"] == ["normal", "cap", "covid"]
    text = json.dumps(plain([scan.to_dict() for scan in cohort.scans])) + json.dumps(plain(cohort.run))
    assert "Meier" not in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("error", "told", "kept"),
    [
        (InputError("Meier.nii is damaged."), "Meier.nii is damaged.", "(input) is damaged."),
        (MemoryError(), "memory", "memory"),
        (RuntimeError("Meier"), "RuntimeError: Meier", "RuntimeError; please report it."),
    ],
)
def test_no_scan_stops_a_cohort(error: Exception, told: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(scan: ScanInput, *, id: str) -> ScanResult:
        raise error

    said: list[str] = []
    result = examine(fail, ScanInput(Path("Meier.nii")), id="scan-1", tell=said.append)  # type: ignore[arg-type]
    assert result.status == "failed"
    assert kept in result.error
    assert "Meier" not in result.error
    assert told in said[0]


def test_findings_name_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(scan: ScanInput, *, id: str) -> ScanResult:
        return ScanResult(id=id, status="done", findings=(Finding("duplicate", "Meier.nii twice.", "dropped"),))

    result = examine(work, ScanInput(Path("Meier.nii")), id="scan-1")  # type: ignore[arg-type]
    assert result.findings == (Finding("duplicate", "(input) twice.", "dropped"),)
