"""``write_metric_tables``: a scored cohort as one JSON file and three CSV files."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.metrics import Estimate
from covidct.report.tables import write_csv, write_json

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from covidct.metrics import TriageReport

__all__ = ("class_rows", "confusion_rows", "score_rows", "write_metric_tables")

_CLASS_METRICS = ("precision", "sensitivity", "f1", "specificity", "auroc", "auprc")
_AVERAGES = ("macro", "weighted")


def write_metric_tables(
    report: TriageReport,
    folder: str | os.PathLike[str],
    *,
    levels: Mapping[str, TriageReport] | None = None,
    run: Mapping[str, Any] | None = None,
) -> None:
    """Write all numbers of a report into a folder, as JSON and for spreadsheets.

    * ``metrics.json``: what :meth:`covidct.metrics.TriageReport.to_dict` gives, with ``classes``, ``<level>_classes``
      of each further level, and ``run``.
    * ``metrics.csv``: level (``case``, then the others), metric, scope, value, low, high.
    * ``classes.csv``: level, and of each class and of the macro and weighted means precision, sensitivity (recall), F1,
      specificity and areas with their intervals, and support, the number of true cases. Where scikit-learn's
      ``classification_report`` writes 0 for what is not defined, a cell is empty.
    * ``confusion.csv``: a row per true class, counts and shares of the row.

    Args:
        report: of the cases.
        folder: made when absent.
        levels: reports of the same predictions by another unit: ``"subject"`` of patients with several cases,
            ``"slice"`` of a classifier that gives each slice a class.
        run: what made them.
    """
    folder = Path(folder)
    record = report.to_dict() | {"classes": class_rows(report), "run": run or {}}
    scores = score_rows(report)
    classes = [{"level": "case", **row} for row in class_rows(report)]
    for level, other in (levels or {}).items():
        record[f"{level}_classes"] = other.to_dict()
        scores += [row | {"level": level} for row in score_rows(other)]
        classes += [{"level": level, **row} for row in class_rows(other)]
    write_json(record, folder / "metrics.json")
    for name, table in (("metrics", scores), ("classes", classes), ("confusion", confusion_rows(report))):
        marked = [{**row, "research_use": RESEARCH_USE} for row in table]
        write_csv(marked, folder / f"{name}.csv", columns=list(marked[0]))


def score_rows(report: TriageReport) -> list[dict[str, Any]]:
    """Level, metric, scope, value, low and high of every score; those of slice attention are of the level ``slice``."""
    rows = [{"level": "case", **row} for row in report.table()]
    scores = {} if report.slices is None else report.slices.scores
    return rows + [
        {"level": "slice", "metric": metric, "scope": scope, **asdict(estimate)}
        for metric, scopes in scores.items()
        for scope, estimate in scopes.items()
    ]


def class_rows(report: TriageReport) -> list[dict[str, Any]]:
    """One row per class, then the macro and the weighted mean: class, each metric with ``_low`` and ``_high``, support.

    NaN where a score is not defined; means run over the classes that are present.
    """
    rows = []
    for scope in (*report.class_names, *_AVERAGES):
        row: dict[str, Any] = {"class": scope}
        for metric in _CLASS_METRICS:
            found = report.scores.get(metric, {}).get(scope, Estimate(math.nan))
            row |= {metric: found.value, f"{metric}_low": found.low, f"{metric}_high": found.high}
        rows.append(row | {"support": report.support.get(scope, report.cases)})
    return rows


def confusion_rows(report: TriageReport) -> list[dict[str, Any]]:
    """One row per true class: ``truth``, ``count_<class>`` called so, ``share_<class>`` of the row (NaN of none)."""
    rows = []
    for name, counts in zip(report.class_names, report.confusion, strict=True):
        total = sum(counts)
        called = list(zip(report.class_names, counts, strict=True))
        rows.append(
            {"truth": name}
            | {f"count_{other}": count for other, count in called}
            | {f"share_{other}": count / total if total else math.nan for other, count in called}
        )
    return rows
