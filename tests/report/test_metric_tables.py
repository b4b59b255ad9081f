"""The tables of a report against scikit-learn."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import classification_report, confusion_matrix

from covidct import RESEARCH_USE
from covidct.metrics import triage_report
from covidct.report import write_metric_tables

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("normal", "cap", "covid")


def cases(count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    prob = random.dirichlet(np.ones(3), count)
    return prob, np.arange(count) % 3, np.arange(count) // 2


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_equal_those_of_scikit_learn(tmp_path: Path) -> None:
    prob, target, subject = cases()
    write_metric_tables(triage_report(prob, target, subject, NAMES, resamples=50), tmp_path, run={"epoch": 3})
    expected = classification_report(target, prob.argmax(1), target_names=NAMES, output_dict=True)
    rows = {row["class"]: row for row in read(tmp_path / "classes.csv")}
    assert list(rows) == [*NAMES, "macro", "weighted"]
    for name, row in rows.items():
        want = expected.get(name) or expected[f"{name} avg"]
        for column, key in (("precision", "precision"), ("sensitivity", "recall"), ("f1", "f1-score")):
            assert float(row[column]) == pytest.approx(want[key])
            assert float(row[f"{column}_low"]) <= float(row[column]) <= float(row[f"{column}_high"])
        assert int(row["support"]) == want["support"]
        assert row["research_use"] == RESEARCH_USE
    counts = confusion_matrix(target, prob.argmax(1))
    table = read(tmp_path / "confusion.csv")
    assert [[int(row[f"count_{name}"]) for name in NAMES] for row in table] == counts.tolist()
    shares = [[float(row[f"share_{name}"]) for name in NAMES] for row in table]
    np.testing.assert_allclose(shares, counts / counts.sum(1, keepdims=True))
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["run"] == {"epoch": 3}
    assert record["classes"][0]["support"] == (target == 0).sum()
    accuracy = next(row for row in read(tmp_path / "metrics.csv") if row["metric"] == "accuracy")
    assert float(accuracy["value"]) == pytest.approx(expected["accuracy"])
    assert accuracy["level"] == "case"


def test_what_is_not_defined_is_empty(tmp_path: Path) -> None:
    prob, target, subject = cases()
    kept = target < 2
    report = triage_report(prob[kept], target[kept], subject[kept], NAMES, resamples=0)
    write_metric_tables(report, tmp_path, levels={"subject": report, "slice": report})
    assert [row["level"] for row in read(tmp_path / "classes.csv")] == [
        level for level in ("case", "subject", "slice") for _ in range(5)
    ]
    row = next(row for row in read(tmp_path / "classes.csv") if row["class"] == "covid")
    assert row["sensitivity"] == row["auroc"] == row["precision_low"] == ""
    assert row["support"] == "0"
    assert read(tmp_path / "confusion.csv")[2]["share_covid"] == ""
    assert {row["level"] for row in read(tmp_path / "metrics.csv")} == {"case", "subject", "slice"}
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["slice_classes"]["scores"] == record["scores"]
