"""JSON and CSV files: stable names, strict JSON, no formulas, whole or absent."""

from __future__ import annotations

import csv
import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pyarrow import parquet

from covidct import RESEARCH_USE
from covidct.report import (
    write_cohort_csv,
    write_cohort_parquet,
    write_metrics_json,
    write_predictions_csv,
    write_scan_json,
)
from covidct.report.plain import plain
from covidct.result import CohortResult, ScanResult
from tests.report.samples import RUN, evaluated, failed, scan

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = [
    *("id", "status", "predicted", "label", "prob_normal", "prob_cap", "prob_covid", "lung_right_ml", "lung_left_ml"),
    *(
        "mask_source",
        "attention_slice",
        "attention_times_slices",
        "positive_slices",
        "slices",
        "rows",
        "columns",
        "slice_mm",
        "row_mm",
        "column_mm",
        "findings",
        "error",
        "seconds",
        "research_use",
    ),
]


TEXTS = {"id", "status", "predicted", "label", "mask_source", "findings", "error", "research_use"}
COUNTS = {"attention_slice", "positive_slices", "slices", "rows", "columns"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_cohort_csv_has_a_row_per_scan(tmp_path: Path) -> None:
    _, cohort = evaluated(4)
    write_cohort_csv(cohort, tmp_path / "cohort.csv")
    table = rows(tmp_path / "cohort.csv")
    assert list(table[0]) == COLUMNS
    assert [row["id"] for row in table] == [each.id for each in cohort.scans]
    assert all(row["research_use"] == RESEARCH_USE for row in table)
    assert float(table[0]["prob_covid"]) == cohort.scans[0].probabilities["covid"]
    assert (table[0]["slices"], table[0]["rows"], table[0]["columns"]) == ("90", "512", "500")
    assert table[0]["findings"] == "shuffled_names"
    assert table[-1]["error"] == "It is an X-ray."
    assert table[-1]["prob_covid"] == ""


def test_columns_can_be_fixed_for_a_cohort_of_failures(tmp_path: Path) -> None:
    write_cohort_csv(CohortResult((failed(1),)), tmp_path / "a.csv", class_names=("normal", "cap", "covid"))
    assert list(rows(tmp_path / "a.csv")[0]) == COLUMNS


def test_predictions_csv_leaves_failures_out(tmp_path: Path) -> None:
    _, cohort = evaluated(4)
    write_predictions_csv(cohort, tmp_path / "p.csv")
    table = rows(tmp_path / "p.csv")
    assert list(table[0]) == ["id", "label", "predicted", "prob_normal", "prob_cap", "prob_covid", "research_use"]
    assert len(table) == 4


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1+2", "@SUM(A1)", "\t=1"])
def test_cells_are_no_formulas_and_survive_quoting(text: str, tmp_path: Path) -> None:
    bad = dataclasses.replace(failed(1, text + ',"\n'), id=text)
    write_cohort_csv(CohortResult((bad,)), tmp_path / "a.csv")
    row = rows(tmp_path / "a.csv")[0]
    assert row["id"] == "'" + text
    assert row["error"] == "'" + text + ',"\n'


def test_scan_json_is_strict_and_has_no_pictures(tmp_path: Path) -> None:
    odd = scan(1, [0.1, 0.2, 0.7], slice_scores=(0.5, float("nan")), lungs_ml={"right": float("inf")})
    write_scan_json(odd, tmp_path / "scan.json", run=RUN)
    text = (tmp_path / "scan.json").read_text(encoding="utf-8")
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["research_use"] == RESEARCH_USE
    assert record["probabilities"] == odd.probabilities
    assert record["slice_scores"] == [0.5, None]
    assert record["lungs_ml"] == {"right": None}
    assert record["run"] == plain(RUN)
    assert "preview" not in record


def test_metrics_json_is_the_report(tmp_path: Path) -> None:
    report, _ = evaluated(8)
    write_metrics_json(report, tmp_path / "metrics.json", run=RUN)
    record = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert record["run"]["covidct"] == "0.1.0"
    assert {key: value for key, value in record.items() if key != "run"} == report.to_dict()


def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidct.report.tables.plain", lambda record: {"x": object()})
    with pytest.raises(TypeError):
        write_scan_json(failed(1), tmp_path / "scan.json")
    assert list(tmp_path.iterdir()) == []


def test_plain_turns_everything_into_json(tmp_path: Path) -> None:
    value = {
        "a": np.float32(0.5),
        2: (np.int64(3), np.array([1.0, np.nan])),
        "p": tmp_path,
        "s": ScanResult(id="x", status="done"),
        "o": complex(1, 2),
        "n": None,
        "t": True,
    }
    found = plain(value)
    assert found["a"] == 0.5
    assert found["2"] == [3, [1.0, None]]
    assert found["p"] == str(tmp_path)
    assert found["s"]["id"] == "x"
    assert (found["o"], found["n"], found["t"]) == ("(1+2j)", None, True)


@pytest.mark.parametrize("cases", [4, 0])
def test_the_parquet_table_is_the_csv_with_types(tmp_path: Path, cases: int) -> None:
    cohort = evaluated(cases)[1] if cases else CohortResult((failed(1),), RUN)
    names = ("normal", "cap", "covid")
    write_cohort_csv(cohort, tmp_path / "cohort.csv", class_names=names)
    write_cohort_parquet(cohort, tmp_path / "cohort.parquet", class_names=names)
    table = parquet.read_table(tmp_path / "cohort.parquet")
    assert table.column_names == COLUMNS
    types = {field.name: str(field.type) for field in table.schema}
    assert {name for name, kind in types.items() if kind == "string"} == TEXTS
    assert {name for name, kind in types.items() if kind == "int64"} == COUNTS
    assert {kind for name, kind in types.items() if name not in TEXTS | COUNTS} == {"double"}
    for typed, written in zip(table.to_pylist(), rows(tmp_path / "cohort.csv"), strict=True):
        for name, value in typed.items():
            if value is None:
                assert written[name] == ""
            else:
                assert type(value)(written[name]) == value
