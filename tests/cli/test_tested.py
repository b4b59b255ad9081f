"""The test of a checkpoint, read for the pages of its scans."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from covidct.cli.tested import calibration_record, read_tested
from covidct.errors import UsageError
from covidct.report import write_metrics_json
from tests.report.samples import evaluated

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    report, _ = evaluated()
    write_metrics_json(report, tmp_path / "metrics.json", run={"checkpoint_sha256": "c0ffee"})
    return tmp_path / "metrics.json"


def test_calibration_is_taken_from_the_test_of_the_checkpoint(metrics: Path) -> None:
    report, _ = evaluated()
    found = read_tested(metrics, checkpoint_sha256="c0ffee")
    assert (found["cases"], found["subjects"]) == (20, 10)
    assert sum(entry["cases"] for entry in found["calibration"]) == 20
    assert found["calibration_error"]["value"] == report.scores["calibration_error"]["overall"].value
    assert all(set(entry) == {"lower", "upper", "cases", "accuracy"} for entry in found["calibration"])


def test_a_classifier_of_slices_has_no_test_of_scans(metrics: Path) -> None:
    with pytest.raises(UsageError, match="slice by slice"):
        calibration_record(metrics, "c0ffee", by_slices=True)
    assert calibration_record(None, "c0ffee", by_slices=True) == {}
    assert set(calibration_record(metrics, "c0ffee", by_slices=False)) == {"tested"}


def test_what_is_no_test_of_this_checkpoint_is_refused(metrics: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the test of another checkpoint"):
        read_tested(metrics, checkpoint_sha256="other")
    with pytest.raises(UsageError, match=r"no metrics\.json of a test"):
        read_tested(tmp_path / "absent.json", checkpoint_sha256="c0ffee")
    record: dict[str, Any] = json.loads(metrics.read_text())
    changes: list[dict[str, Any]] = [{"calibration": []}, {"calibration": [{"cases": 1}]}, {"scores": {}}, {"run": {}}]
    for change in changes:
        metrics.write_text(json.dumps(record | change))
        with pytest.raises(UsageError, match=r"metrics\.json"):
            read_tested(metrics, checkpoint_sha256="c0ffee")
