"""A cohort in memory, and sentences that lead nowhere."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from covidct import RESEARCH_USE
from covidct.errors import InputError
from covidct.inference import ScanInput, triage
from covidct.inference.triage import anonymous, examine
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


def test_sentences_lose_what_leads_to_the_input(tmp_path: Path) -> None:
    folder = tmp_path / "Eva_Meier"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "IM-0001.dcm").write_bytes(b"")
    sentence = f"{folder}/deep/IM-0001.dcm of Eva_Meier, series 1.2.840.113619.2.55, has 0.75 mm and covidct 0.1.0."
    clean = anonymous(sentence, folder)
    for secret in ("Eva", "Meier", "IM-0001", "113619", str(tmp_path)):
        assert secret not in clean
    assert "0.75 mm and covidct 0.1.0" in clean


def test_names_in_a_zip_are_lost_too(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Eva/Meier_7.dcm", b"")
    assert "Meier" not in anonymous("The file Meier_7.dcm in Eva is damaged.", path)
    path.write_bytes(b"no zip")
    assert anonymous("The zip x.zip is damaged.", path) == "The zip (input) is damaged."


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
