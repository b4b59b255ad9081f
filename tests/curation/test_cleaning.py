"""``clean_scans``: gaps are ends, earlier removals stay, one wrong row stops nothing, and a table of it is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from covidct.curation import Entry, SliceOrder, Unreadable, clean_scans
from covidct.curation.cleaning import cleaned_rows, slice_rows
from covidct.curation.slice_order import order_of_hashes
from covidct.errors import InputError, UsageError
from tests.curation.test_slice_order import foreign, smooth_stack


def write_slices(folder: Path, *, places: tuple[int, ...], depth: int = 10) -> list[Entry]:
    """Smooth slices, foreign ones at some places, as entries of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    slices = smooth_stack(depth)
    for place in places:
        slices[place] = foreign()
    for index, plane in enumerate(slices):
        assert cv2.imwrite(str(folder / f"{index:03d}.png"), plane)
    return [Entry(index + 1, folder / f"{index:03d}.png") for index in range(depth)]


@pytest.mark.parametrize("lost", ["gone", "damaged"])
def test_a_slice_that_cannot_be_read_is_a_gap_in_the_listing(tmp_path: Path, lost: str) -> None:
    entries = write_slices(tmp_path / "s", places=(4, 7), depth=12)
    entries[3].path.unlink()
    if lost == "damaged":
        entries[3].path.write_bytes(b"no picture")
    unreadable: list[Unreadable] = []
    (scan,) = clean_scans(entries, groups=["a"] * 12, unreadable=unreadable)
    assert [item.entry.number for item in unreadable] == [4]
    assert [one.index for one in scan.order.removed] == [7]  # 4 lies beside the gap, as an end does
    assert scan.order.kept == (0, 1, 2, 4, 5, 6, 8, 9, 10, 11)
    assert scan.order.distances[2] is None
    assert [near.indices for near in scan.pictures] == [(6, 7, 8)]
    cells = {entry.number: {"label": "x"} for entry in entries}
    kept = [row["path"] for row in cleaned_rows(cells, [scan], tmp_path)]
    assert kept == [f"s/{index:03d}.png" for index in (0, 1, 2, 4, 5, 6, 8, 9, 10, 11)]


def test_a_scan_of_which_nothing_can_be_read_is_none(tmp_path: Path) -> None:
    entries = [*write_slices(tmp_path / "a", places=()), *(Entry(20 + k, tmp_path / f"no{k}.png") for k in range(3))]
    unreadable: list[Unreadable] = []
    scans = clean_scans(entries, groups=["a"] * 10 + ["b"] * 3, unreadable=unreadable)
    assert [scan.id for scan in scans] == ["row-00001"]
    assert len(unreadable) == 3


def test_a_file_that_goes_while_it_is_checked_costs_a_picture_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = write_slices(tmp_path / "s", places=(2, 6))

    def losing(*args: Any, **options: Any) -> SliceOrder:  # noqa: ANN401
        entries[1].path.unlink()
        return order_of_hashes(*args, **options)

    monkeypatch.setattr("covidct.curation.cleaning.order_of_hashes", losing)
    (scan,) = clean_scans(entries, groups=["a"] * 10, unreadable=[])
    assert [one.index for one in scan.order.removed] == [2, 6]
    assert [near.indices for near in scan.pictures] == [(5, 6, 7)]


def test_slices_that_a_table_left_out_before_stay_out(tmp_path: Path) -> None:
    write_slices(tmp_path / "s", places=(3, 6))
    entry = Entry(1, tmp_path / "s", slices=(0, 1, 2, 4, 5, 6, 7, 8, 9))
    (scan,) = clean_scans([entry])
    assert [one.index for one in scan.order.removed] == [6]
    assert scan.order.kept == (0, 1, 2, 4, 5, 7, 8, 9)
    assert [near.indices for near in scan.pictures] == [(5, 6, 7)]
    assert np.array_equal(scan.pictures[0].slice, foreign())
    (row,) = cleaned_rows({1: {}}, [scan], tmp_path)
    assert row["slices"] == "0-2 4-5 7-9"
    files = [(row["slice"], row["path"]) for row in slice_rows({1: {}}, [scan], tmp_path)]
    assert files == [(str(index), f"s/{index:03d}.png") for index in (0, 1, 2, 4, 5, 7, 8, 9)]
    (again,) = clean_scans([Entry(1, tmp_path / "s", slices=scan.order.kept)])
    (row,) = cleaned_rows({1: {}}, [again], tmp_path)
    assert row["slices"] == "0-2 4-5 7-9"  # nothing more to remove, and nothing comes back


def test_a_picture_among_scans_and_a_scan_among_slices_stop_nothing(tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "s", places=(5,))
    mixed = [Entry(1, tmp_path / "s"), Entry(2, slices[0].path)]
    unreadable: list[Unreadable] = []
    (scan,) = clean_scans(mixed, unreadable=unreadable)
    assert [one.index for one in scan.order.removed] == [5]
    assert [(item.entry.id, item.reason.split(":")[0]) for item in unreadable] == [
        ("row-00002", "This is a single picture, not a scan")
    ]
    unreadable = []
    (scan,) = clean_scans([*slices, Entry(20, tmp_path / "s")], groups=["a"] * 11, unreadable=unreadable)
    assert [one.index for one in scan.order.removed] == [5]
    assert "whole scan" in unreadable[0].reason
    with pytest.raises(UsageError, match="row-00002 is a single picture"):
        clean_scans(mixed)


def test_the_form_is_told_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    entries = write_slices(tmp_path / "s", places=())
    monkeypatch.setattr("covidct.curation.listing.read_stack", never)
    with pytest.raises(UsageError, match="single picture"):
        clean_scans(entries, unreadable=[])
    with pytest.raises(UsageError, match="whole scan"):
        clean_scans([Entry(1, tmp_path / "s")], groups=["a"], unreadable=[])
    with pytest.raises(UsageError, match="threshold"):
        clean_scans([Entry(1, tmp_path / "s")], threshold=65)
    with pytest.raises(UsageError, match="window"):
        clean_scans([Entry(1, tmp_path / "s")], window=(400.0, -1000.0))


def test_without_a_list_the_first_unreadable_entry_is_raised(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row-00001"):
        clean_scans([Entry(1, tmp_path / "gone")])
