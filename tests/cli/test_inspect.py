"""``covidct inspect``: series and findings, no pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from covidct import RESEARCH_USE
from covidct.__main__ import main
from tests.fakes.dicom import body, edit, write_series


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paths = write_series(tmp_path / "scan", body(), spacing=(2.0, 0.75, 0.5), series_uid="1.2.3.4.5")
    paths[5].unlink()
    return tmp_path / "scan"


def test_a_table_and_plain_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "11 x 44 x 36" in text
    assert "2.000 x 0.750 x 0.500" in text
    assert "1.2.3.4.5" in text
    assert "[refused]" in text
    assert "missing" in text
    assert RESEARCH_USE in text
    assert "SENTINEL" not in text


def test_json_is_one_document(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder), str(tmp_path / "nowhere"), "--json"]) == 1
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert record["research_use"] == RESEARCH_USE
    first, second = record["inputs"]
    assert first["series"][0]["shape"] == [11, 44, 36]
    assert first["error"] is None
    assert "nowhere" in second["error"]
    assert second["series"] == []
    assert captured.err.count("\n") == 1


def test_rules_of_a_cohort(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in folder.iterdir():
        edit(path, SliceThickness="5", ContrastBolusAgent="Agent of SENTINEL")
    assert main(["inspect", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "5.000" in text
    assert "[excluded]" not in text
    assert main(["inspect", str(folder), "--max-thickness", "3", "--no-contrast"]) == 0
    text = capsys.readouterr().out
    assert "1: [excluded] a contrast agent was given, says ContrastBolusAgent" in text
    assert "1: [excluded] slice thickness 5 mm is more than 3 mm" in text
    assert "SENTINEL" not in text
    assert main(["inspect", str(folder), "--max-thickness", "3", "--json"]) == 0
    series = json.loads(capsys.readouterr().out)["inputs"][0]["series"][0]
    assert series["thickness"] == 5.0
    assert series["contrast"] is True
    assert series["excluded"] == ["slice thickness 5 mm is more than 3 mm"]
    assert main(["inspect", str(folder), "--max-thickness", "-1"]) == 2


def test_pixels_are_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("covidct.io.dicom_pixels.read_hu", refuse)
    monkeypatch.setattr("pydicom.pixels.get_decoder", refuse)
    assert main(["inspect", str(folder)]) == 0


def test_codes(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no scan")
    assert main(["inspect", str(text)]) == 3
    assert main(["inspect", str(text), str(folder)]) == 1
    assert main(["inspect"]) == 2


def test_an_empty_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == 3
    assert f"There is no scan in {tmp_path}" in capsys.readouterr().err.replace("\n", "")


def test_the_place_of_each_series_is_on_the_screen_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("p1", "p2"):
        write_series(tmp_path / name, body(), spacing=(2.0, 0.75, 0.5), series_uid=f"1.2.3.{name[1]}")
    assert main(["inspect", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "dicom" in line]
    assert [row[-2:] for row in rows] == [["p1", "1.2.3.1"], ["p2", "1.2.3.2"]]
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    assert "p1" not in capsys.readouterr().out.replace(str(tmp_path), "")


def test_pictures_have_no_spacing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import cv2

    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((8, 8), np.uint8))
    assert main(["inspect", str(tmp_path)]) == 0
    assert "? x ? x ?" in capsys.readouterr().out
