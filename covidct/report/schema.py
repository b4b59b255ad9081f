"""``result_schema``: the JSON schema of a scan's record."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from covidct.report.tables import RECORD_VERSION

__all__ = ("result_schema",)


def result_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of what :func:`write_scan_json` writes, ``scans/<id>.json`` of a triage.

    It ships with the package as ``covidct/report/schemas/scan_result-1.json``; the number is the ``version`` of the
    records that it describes, raised when a field changes its meaning or goes. New fields may come in a version.

    Returns:
        Plain data, as ``json.loads`` gives it.
    """
    name = f"scan_result-{RECORD_VERSION}.json"
    schema: dict[str, Any] = json.loads((files("covidct.report") / "schemas" / name).read_text(encoding="utf-8"))
    return schema
