"""Segmentations of a cohort as tables: one row per scan, and the means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.report.tables import write_csv, write_json

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

__all__ = ("write_segmentation_csv", "write_segmentation_json")


def write_segmentation_csv(scans: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Write one row per scan: its id, its numbers, research_use.

    Args:
        scans: records with the same keys; NaN becomes an empty cell.
        path: the file to write.
    """
    columns = [*(scans[0] if scans else ["id"]), "research_use"]
    write_csv([{**scan, "research_use": RESEARCH_USE} for scan in scans], path, columns=columns)


def write_segmentation_json(
    scans: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], *, run: Mapping[str, Any] | None = None
) -> None:
    """Write the records of the scans, and of every number the mean over the scans that have it.

    Args:
        scans: records with the same keys, ``id`` and numbers; NaN becomes null.
        path: the file to write.
        run: what made them.
    """
    keys = [key for key in (scans[0] if scans else {}) if key != "id"]
    record = {
        "kind": "covidct.segmentation_report",
        "version": 1,
        "research_use": RESEARCH_USE,
        "cases": len(scans),
        "mean": {key: _mean([scan[key] for scan in scans]) for key in keys},
        "scans": list(scans),
        "run": run or {},
    }
    write_json(record, path)


def _mean(values: Sequence[float]) -> float:
    """Mean of what is no NaN."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
