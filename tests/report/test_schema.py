"""The published schema describes the records that are written, field by field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from covidct import RESEARCH_USE
from covidct.functional import LesionMeasures
from covidct.report import result_schema, write_scan_json
from covidct.result import ScanResult
from tests.report.samples import RUN, failed, scan

if TYPE_CHECKING:
    from pathlib import Path

jsonschema: Any = pytest.importorskip("jsonschema")

NAN = float("nan")
LESION = LesionMeasures("all", 2, 3.5, NAN, NAN, NAN, None, NAN, NAN, -512.0, ("lung_mask",)).to_dict()
REGION = {"slice": 3, "rank": 1, "type": "consolidation", "score": 0.9, "box": (1.0, 2.0, 3.0, 4.5)}
FULL = replace(
    scan(1, [0.2, 0.3, 0.5], "covid"),
    attention=(0.25, NAN, 0.75),
    positive_slices=(2,),
    lesions=(LESION,),
    lesion_source="checkpoint:" + "ab" * 32,
    regions=(REGION,),
    mask_source="threshold",
    files=("masks/case-001_lungs.nii.gz", "dicom/case-001/sr.dcm"),
    contents={"masks/case-001_lungs.nii.gz": b"x"},
)


def record(result: ScanResult, folder: Path) -> dict[str, Any]:
    write_scan_json(result, folder / "x.json", run=RUN)
    read: dict[str, Any] = json.loads((folder / "x.json").read_text())
    return read


def test_the_schema_is_one_and_says_where_it_is() -> None:
    schema = result_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"].endswith("/scan_result-1.json")
    assert schema["properties"]["version"]["const"] == 1
    assert schema["properties"]["research_use"]["const"] == RESEARCH_USE


@pytest.mark.parametrize("result", [FULL, failed(2)], ids=["full", "failed"])
def test_records_fit_the_schema(result: ScanResult, tmp_path: Path) -> None:
    jsonschema.validate(record(result, tmp_path), result_schema())


def test_every_field_of_a_record_is_described(tmp_path: Path) -> None:
    schema, written = result_schema(), record(FULL, tmp_path)
    assert list(schema["properties"]) == schema["required"]
    assert set(schema["properties"]) == set(written)
    assert set(schema["$defs"]["lesion"]["properties"]) == set(LesionMeasures.__dataclass_fields__)
    assert set(schema["properties"]["regions"]["items"]["properties"]) == set(REGION)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("status", "maybe"),
        ("probabilities", {"covid": 1.5}),
        ("mask_source", "/data/patient.nii"),
        ("files", ["../../etc/passwd"]),
        ("lesions", [{"lesion": "all"}]),
    ],
)
def test_what_is_no_record_is_refused(key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record(FULL, tmp_path) | {key: value}, result_schema())
