"""``covidct doctor``: faults are found and told apart from notes."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version

import pytest

from covidct.__main__ import main
from covidct.cli import doctor
from covidct.cli.doctor import Check


def test_this_installation_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["torch"]["text"] == version("torch")
    assert "JPEG 2000" in checks["DICOM decoders"]["text"]
    assert "GFLOP/s" in checks["speed"]["text"]
    assert all(check["status"] != "fault" for check in checks.values())


def test_a_fault_gives_code_1_and_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "checks", lambda: iter([Check("a", "ok", "fine"), Check("b", "fault", "broken")]))
    assert main(["doctor"]) == 1
    assert "broken" in capsys.readouterr().out


def test_a_missing_package_and_a_raising_probe_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    def broken(name: str) -> Check:
        raise RuntimeError(name)

    monkeypatch.setattr(doctor, "version", missing)
    for probe in ("_operators", "_devices", "_decoders", "_cache", "_threads", "_speed"):
        monkeypatch.setattr(doctor, probe, broken)
    found = {check.name: check for check in doctor.checks()}
    assert found["torch"].text == "is not installed: pip install torch"
    assert found["devices"].text == "RuntimeError: devices"
    assert {check.status for name, check in found.items() if name != "covidct"} == {"fault"}
