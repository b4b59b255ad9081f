"""Slices that a table leaves out: pictures close up, scans of known geometry stay where they are in the body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidct.datasets import ManifestSlices, ManifestVolumes
from covidct.datasets.base import Raw
from covidct.datasets.kept_slices import format_slices, keep_slices, parse_slices
from covidct.errors import ManifestError
from covidct.volume import Volume, unknown_affine
from tests.fakes.cohort import write_volumes


@pytest.mark.parametrize(
    ("text", "indices"),
    [("", ()), ("4", (4,)), ("0-3", (0, 1, 2, 3)), ("0-1 3, 7-8", (0, 1, 3, 7, 8)), ("5 2 2-3", (2, 3, 5))],
)
def test_cells_are_read(text: str, indices: tuple[int, ...]) -> None:
    assert parse_slices(text) == indices
    assert parse_slices(format_slices(indices)) == indices


def test_cells_are_written_as_runs() -> None:
    assert format_slices((0, 1, 2, 4, 6, 7)) == "0-2 4 6-7"
    assert format_slices(()) == ""


@pytest.mark.parametrize("text", ["a", "3-1", "-2", "1--2", "1.5", "9999999"])
def test_other_cells_are_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="0-10 12-63"):
        parse_slices(text)


def ramp(affine: np.ndarray, dtype: type = np.float32) -> Raw:
    """Slice k holds 100 k, but slice 2 is foreign."""
    array: np.ndarray = (100 * np.arange(8)[:, None, None] * np.ones((1, 4, 5))).astype(dtype)
    array[2] = 9999
    mask = np.repeat(np.arange(8, dtype=np.uint8), 20).reshape(8, 4, 5) % 3
    return Raw(Volume(array, affine), lung_mask=mask, slice_label=np.arange(8) % 2)


def test_without_geometry_the_others_move_together() -> None:
    found = keep_slices(ramp(unknown_affine()), (0, 1, 3, 4, 5, 6, 7))
    assert isinstance(found.scan, Volume)
    assert found.scan.array[:, 0, 0].tolist() == [0, 100, 300, 400, 500, 600, 700]
    assert found.slice_label is not None
    assert found.slice_label.tolist() == [0, 1, 1, 0, 1, 0, 1]
    assert [finding.code for finding in found.scan.findings] == ["slices_left_out"]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_with_geometry_every_slice_keeps_its_place(dtype: type) -> None:
    affine = np.diag([0.7, 0.7, 5.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    before = ramp(affine, dtype)
    found = keep_slices(before, (1, 3, 4, 6))
    assert isinstance(found.scan, Volume)
    assert found.scan.array.dtype == dtype
    assert found.scan.array[:, 0, 0].tolist() == [100, 200, 300, 400, 500, 600]  # a ramp is interpolated exactly
    assert found.scan.affine[:3, 3].tolist() == [10, 20, 35]  # one slice of 5 mm cut off below
    assert found.lung_mask is not None
    assert before.lung_mask is not None
    assert found.lung_mask.shape == (6, 4, 5)
    assert np.array_equal(found.lung_mask[[0, 2, 3, 5]], before.lung_mask[[1, 3, 4, 6]])
    assert found.slice_label is not None
    assert found.slice_label.tolist() == [1, -1, 1, 0, -1, 0]
    assert isinstance(before.scan, Volume)
    assert int(before.scan.array[2, 0, 0]) == 9999  # untouched


@pytest.mark.parametrize("kept", [(0, 1), (0, 1, 8), ()])
def test_too_few_or_absent_slices_are_refused(kept: tuple[int, ...]) -> None:
    with pytest.raises(ManifestError, match="the scan has 8"):
        keep_slices(ramp(unknown_affine()), kept)


def test_tables_with_the_column(tmp_path: Path) -> None:
    table = write_volumes(tmp_path, 2)
    whole = ManifestVolumes(table)
    scan = whole.load(0).scan
    assert isinstance(scan, Volume)
    depth = scan.shape[0]
    lines = table.read_text().splitlines()
    kept = tuple(index for index in range(depth) if index != 2)
    table.write_text("\n".join([f"{lines[0]},slices", f"{lines[1]},{format_slices(kept)}", f"{lines[2]},"]) + "\n")
    cleaned = ManifestVolumes(table)
    found = cleaned.load(0).scan
    assert isinstance(found, Volume)
    expected = (scan.array[1].astype(float) + scan.array[3]) / 2
    assert np.abs(found.array[2] - expected).max() <= 0.5
    assert np.array_equal(np.delete(found.array, 2, axis=0), np.delete(scan.array, 2, axis=0))
    assert cleaned.content_key(0, digest=str) != whole.content_key(0, digest=str)
    assert cleaned.content_key(1, digest=str) == whole.content_key(1, digest=str)
    slices = ManifestSlices(table, intensity="hu")
    assert [record.slice for record in slices.records if record.source == 0] == list(kept)
    table.write_text("\n".join([f"{lines[0]},slices", f"{lines[1]},0-{depth}", f"{lines[2]},x"]) + "\n")
    with pytest.raises(ManifestError, match="row 2"):
        len(ManifestVolumes(table))
    table.write_text("\n".join([f"{lines[0]},slices", f"{lines[1]},0-{depth}", f"{lines[2]},"]) + "\n")
    with pytest.raises(ManifestError, match="Row 1"):
        ManifestVolumes(table).load(0)
    with pytest.raises(ManifestError, match="Row 1"):
        len(ManifestSlices(table, intensity="hu"))
