"""JSON and CSV: one record per scan, one row per scan, stable names, NaN as null or an empty cell."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.atomic import atomic_path, atomic_write_text
from covidct.report.attention import most_attended, times_even
from covidct.report.plain import plain

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from covidct.metrics import TriageReport
    from covidct.result import CohortResult, ScanResult

__all__ = (
    "RECORD_VERSION",
    "write_cohort_csv",
    "write_cohort_parquet",
    "write_csv",
    "write_json",
    "write_metrics_json",
    "write_predictions_csv",
    "write_scan_json",
    "write_slices_csv",
)

RECORD_VERSION = 1
"""Of the record of a scan, see :func:`covidct.report.result_schema`."""

_TEXTS = ("id", "status", "predicted", "label", "mask_source", "findings", "error", "research_use")
_COUNTS = ("attention_slice", "positive_slices", "slices", "rows", "columns")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run these: OWASP, "CSV injection"


def write_scan_json(scan: ScanResult, path: str | os.PathLike[str], *, run: Mapping[str, Any] | None = None) -> None:
    """Write one scan's record.

    Args:
        scan: the result; its pictures and files are left out. :func:`covidct.report.result_schema` describes the rest.
        path: the file to write.
        run: what made it (versions, checkpoint hash, ...).
    """
    head = {"kind": "covidct.scan_result", "version": RECORD_VERSION, "research_use": RESEARCH_USE}
    write_json(head | scan.to_dict() | {"run": run or {}}, path)


def write_metrics_json(
    report: TriageReport, path: str | os.PathLike[str], *, run: Mapping[str, Any] | None = None
) -> None:
    """Write an evaluation: scores with intervals, confusion matrix, curves, notes.

    Args:
        report: from :func:`covidct.metrics.triage_report`.
        path: the file to write.
        run: what made it.
    """
    write_json(report.to_dict() | {"run": run or {}}, path)


def write_cohort_csv(
    cohort: CohortResult, path: str | os.PathLike[str], *, class_names: Sequence[str] | None = None
) -> None:
    """Write one row per scan, failed ones too, in the order of the cohort.

    Columns: id, status, predicted, label, ``prob_<class>``, lung_right_ml, lung_left_ml, mask_source,
    attention_slice (index of the slice of most attention, from the feet), attention_times_slices (its share times the
    number of slices), positive_slices (how many are called positive; empty without slice attention), ggo_ml,
    consolidation_ml, lesions_percent (of both lungs; these three only where lesions were looked for), slices, rows,
    columns, slice_mm, row_mm, column_mm, findings (codes), error, seconds, research_use.

    Args:
        cohort: the results.
        path: the file to write.
        class_names: classes of the columns; None takes those of the scans, so that a cohort without a single success
            has no such columns.
    """
    rows, columns = _cohort_rows(cohort, class_names)
    write_csv(rows, path, columns=columns)


def write_cohort_parquet(
    cohort: CohortResult, path: str | os.PathLike[str], *, class_names: Sequence[str] | None = None
) -> None:
    """Write the table of :func:`write_cohort_csv` as Parquet.

    Texts are strings, counts 64-bit integers, all else float64; what is not known is null, so that a column has one
    type in every cohort.

    Args:
        cohort: the results.
        path: the file to write.
        class_names: as there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, columns = _cohort_rows(cohort, class_names)
    types = {**dict.fromkeys(_TEXTS, pa.string()), **dict.fromkeys(_COUNTS, pa.int64())}
    arrays = [
        pa.array([_known(row[column]) for row in rows], type=types.get(column, pa.float64())) for column in columns
    ]
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays, names=columns), temporary, compression="zstd")


def _known(value: object) -> object:
    """The value, None for NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cohort_rows(cohort: CohortResult, class_names: Sequence[str] | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows and columns of the cohort's table."""
    names = class_columns(cohort, class_names)
    rows = []
    for scan in cohort.scans:
        best, times = most_attended(scan)
        slices, rows_, columns = _three(scan.geometry.get("shape"))
        slice_mm, row_mm, column_mm = _three(scan.geometry.get("spacing"))
        rows.append(
            {
                "id": scan.id,
                "status": scan.status,
                "predicted": scan.predicted,
                "label": scan.label,
                **{f"prob_{name}": scan.probabilities.get(name) for name in names},
                "lung_right_ml": scan.lungs_ml.get("right"),
                "lung_left_ml": scan.lungs_ml.get("left"),
                "mask_source": scan.mask_source,
                "attention_slice": best,
                "attention_times_slices": times,
                "positive_slices": len(scan.positive_slices) if scan.attention else None,
                **_lesion_cells(scan),
                "slices": slices,
                "rows": rows_,
                "columns": columns,
                "slice_mm": slice_mm,
                "row_mm": row_mm,
                "column_mm": column_mm,
                "findings": " ".join(finding.code for finding in scan.findings),
                "error": scan.error,
                "seconds": round(sum(scan.seconds.values()), 3) if scan.seconds else None,
                "research_use": RESEARCH_USE,
            }
        )
    return rows, _cohort_columns(names, lesions=any(scan.lesions for scan in cohort.scans))


def _lesion_cells(scan: ScanResult) -> dict[str, float | None]:
    """Lesion columns of one scan."""
    rows = {row["lesion"]: row for row in scan.lesions}
    return {
        column: rows.get(lesion, {}).get(key)
        for column, lesion, key in (
            ("ggo_ml", "ground_glass_opacity", "volume_ml"),
            ("consolidation_ml", "consolidation", "volume_ml"),
            ("lesions_percent", "all", "lungs_percent"),
        )
    }


def _cohort_columns(names: Sequence[str], *, lesions: bool) -> list[str]:
    """The header of the cohort's table."""
    geometry = ["slices", "rows", "columns", "slice_mm", "row_mm", "column_mm"]
    lungs = ["lung_right_ml", "lung_left_ml", "mask_source"]
    attention = ["attention_slice", "attention_times_slices", "positive_slices"]
    prob = [f"prob_{name}" for name in names]
    head = ["id", "status", "predicted", "label"]
    measured = ["ggo_ml", "consolidation_ml", "lesions_percent"] if lesions else []
    return [*head, *prob, *lungs, *attention, *measured, *geometry, "findings", "error", "seconds", "research_use"]


def write_slices_csv(cohort: CohortResult, path: str | os.PathLike[str]) -> None:
    """Write one row per slice of the scans with slice attention, feet to head.

    Columns: id, slice (index from the feet), attention (its share), attention_times_slices (1 is an even share),
    positive (1 when called positive, else 0), research_use.

    Args:
        cohort: the results.
        path: the file to write.
    """
    rows = [
        {
            "id": scan.id,
            "slice": index,
            "attention": share,
            "attention_times_slices": times,
            "positive": int(index in positive),
            "research_use": RESEARCH_USE,
        }
        for scan in cohort.scans
        for positive in (set(scan.positive_slices),)
        for index, (share, times) in enumerate(zip(scan.attention, times_even(scan), strict=True))
        if math.isfinite(share)
    ]
    columns = ["id", "slice", "attention", "attention_times_slices", "positive", "research_use"]
    write_csv(rows, path, columns=columns)


def write_predictions_csv(
    cohort: CohortResult, path: str | os.PathLike[str], *, class_names: Sequence[str] | None = None
) -> None:
    """Write id, label, predicted, ``prob_<class>`` and research_use of every scan that has a prediction.

    Args:
        cohort: the results.
        path: the file to write.
        class_names: classes of the columns; None takes those of the scans.
    """
    names = class_columns(cohort, class_names)
    rows = [
        {
            "id": scan.id,
            "label": scan.label,
            "predicted": scan.predicted,
            **{f"prob_{name}": scan.probabilities.get(name) for name in names},
            "research_use": RESEARCH_USE,
        }
        for scan in cohort.scans
        if scan.status == "done"
    ]
    write_csv(rows, path, columns=["id", "label", "predicted", *(f"prob_{name}" for name in names), "research_use"])


def class_columns(cohort: CohortResult, class_names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Class names of a cohort in label order: as given, or in order of first appearance."""
    if class_names is not None:
        return tuple(class_names)
    return tuple(dict.fromkeys(name for scan in cohort.scans for name in scan.probabilities))


def _three(values: object) -> tuple[Any, Any, Any]:
    """Three entries of a geometry record, or three empty ones (2-D images)."""
    return tuple(values) if isinstance(values, list | tuple) and len(values) == 3 else (None, None, None)


def write_json(record: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write strict JSON, readable by people too.

    Args:
        record: what :func:`covidct.report.plain.plain` takes; NaN becomes null.
        path: the file to write.
    """
    atomic_write_text(path, json.dumps(plain(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str], *, columns: Sequence[str]) -> None:
    """Write a table as of RFC 4180, with LF line ends.

    Args:
        rows: column to value.
        path: the file to write.
        columns: the header.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    atomic_write_text(path, buffer.getvalue())


def _cell(value: object) -> object:
    """An empty cell for NaN and None; text that a spreadsheet would run as a formula gets a quote in front."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
