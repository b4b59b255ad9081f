"""The output folder: what it writes it can read, and it never mixes results of unlike runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.cli.cohort_folder import CohortFolder
from covidct.errors import UsageError
from covidct.functional import lesion_table
from covidct.io import ScanInput
from covidct.result import LesionBox, LesionPreview, ScanResult
from tests.report.samples import scan, viewed

if TYPE_CHECKING:
    from pathlib import Path

RUN: dict[str, Any] = {
    "checkpoint_sha256": "ab",
    "preprocessing": {"classes": ["normal", "cap", "covid"]},
    "mask_source": "threshold",
    "lesion_source": "checkpoint:c0ffee",
    "on_fault": "error",
    "covidct": "0.1.0",
}


def with_lesions(name: str) -> ScanResult:
    """A result whose lesion table has numbers, NaN and None in it."""
    mask = np.zeros((3, 8, 8), np.uint8)
    mask[:, 2:4, 2:6] = 1
    rows = tuple(row.to_dict() for row in lesion_table(mask, spacing=(1.0, 1.0, 1.0)))
    shown = LesionPreview(mask, mask, ((LesionBox((2, 2, 6, 4), 1, 0.5),), (), ()), (0, 1, 2))
    result = scan(1, [0.1, 0.2, 0.7], lesions=rows, lesion_source=RUN["lesion_source"], lesion_preview=shown)
    return replace(
        result, id=name, slice_scores=(0.5, math.nan), attention=(), positive_slices=(1,), viewer=viewed().viewer
    )


@pytest.fixture
def inputs(tmp_path: Path) -> list[ScanInput]:
    path = tmp_path / "scan.nii"
    path.write_bytes(b"x")
    return [ScanInput(path)]


def test_a_result_comes_back_as_it_was(inputs: list[ScanInput], tmp_path: Path) -> None:
    folder = CohortFolder(tmp_path / "out", run=RUN, scans=inputs, resume=False)
    written = with_lesions(folder.id_of(inputs[0]))
    folder.keep(written)
    first = folder.close()
    (kept,) = first.scans  # a long run keeps no pictures in memory but a thumbnail
    assert (kept.lesion_preview, kept.viewer) == (None, None)
    assert kept.preview is not None
    assert kept.preview.slices.shape == (1, 72, 96)
    again = CohortFolder(tmp_path / "out", run=RUN, scans=inputs, resume=True)
    assert again.take_finished() == set(inputs)
    (read,) = again.close().scans
    assert [list(row) for row in read.lesions] == [list(row) for row in written.lesions]
    for row, before in zip(read.lesions, written.lesions, strict=True):
        assert repr(row) == repr(before)  # NaN is NaN, None is None, tuples are tuples
    assert read.lesion_source == "checkpoint:c0ffee"
    page = (tmp_path / "out" / "scans" / f"{written.id}.html").read_text()
    assert "GGO 0.50" in page
    assert "sha256 c0ffee" in page
    assert ",0.024,0.0,," in (tmp_path / "out" / "cohort.csv").read_text()  # ml, ml, no lungs to have a share of
    record = json.loads((tmp_path / "out" / "scans" / f"{written.id}.json").read_text())
    assert "lesion_preview" not in record


def test_lesions_of_another_network_are_not_mixed_in(inputs: list[ScanInput], tmp_path: Path) -> None:
    folder = CohortFolder(tmp_path / "out", run=RUN, scans=inputs, resume=False)
    folder.keep(with_lesions(folder.id_of(inputs[0])))
    folder.close()
    for run in (RUN | {"lesion_source": "checkpoint:other"}, {k: v for k, v in RUN.items() if k != "lesion_source"}):
        with pytest.raises(UsageError, match="lesion_source"):
            CohortFolder(tmp_path / "out", run=run, scans=inputs, resume=True)
    CohortFolder(tmp_path / "out", run=RUN, scans=inputs, resume=True)


def test_files_of_a_result_are_written_and_go_with_it(inputs: list[ScanInput], tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = CohortFolder(out, run=RUN, scans=inputs, resume=False)
    name = folder.id_of(inputs[0])
    contents = {f"masks/{name}_lungs.nii.gz": b"mask", f"dicom/{name}/sc_6.dcm": b"object"}
    folder.keep(replace(with_lesions(name), files=tuple(contents), contents=contents))
    (kept,) = folder.close().scans
    assert kept.contents == {}, "a long run keeps no files in memory"
    assert {path: (out / path).read_bytes() for path in contents} == contents
    again = CohortFolder(out, run=RUN, scans=inputs, resume=True)
    assert again.take_finished() == set(inputs)
    assert again.close().scans[0].files == tuple(contents)
    inputs[0].path.write_bytes(b"another scan")
    changed = CohortFolder(out, run=RUN, scans=inputs, resume=True)
    assert changed.take_finished() == set()
    assert not any((out / path).exists() for path in contents)


def test_a_record_cannot_have_others_files_removed(inputs: list[ScanInput], tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = CohortFolder(out, run=RUN, scans=inputs, resume=False)
    folder.keep(with_lesions(folder.id_of(inputs[0])))
    folder.close()
    (record,) = (out / "scans").glob("*.json")
    precious = tmp_path / "precious"
    precious.write_text("kept")
    names = ["masks/../../precious", str(precious), "index.html"]
    record.write_text(json.dumps(json.loads(record.read_text()) | {"files": names}))
    inputs[0].path.write_bytes(b"another scan")
    assert CohortFolder(out, run=RUN, scans=inputs, resume=True).take_finished() == set()
    assert precious.exists()
    assert (out / "index.html").exists()
