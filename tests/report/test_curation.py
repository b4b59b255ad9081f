"""The page of a curation shows each removed slice between its neighbours, and nobody's name."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from covidct.curation import CleanedScan, Entry, RemovedSlice, SliceOrder, Unreadable
from covidct.curation.cleaning import Neighbourhood
from covidct.report import write_curation_csv, write_curation_json, write_curation_page
from tests.report.page import Page

SECRET = "Miller_Anna_19541230"  # noqa: S105 - a name of a file


def cleaned(number: int, *removed: int) -> CleanedScan:
    kept = tuple(index for index in range(9) if index not in removed)
    order = SliceOrder(kept, tuple(RemovedSlice(i, 20 + i, 30 + i) for i in removed), (1,) * 8, "ahash", 5)
    planes = [np.full((300, 448), value, np.uint8) for value in (0, 100, 200)]
    pictures = tuple(Neighbourhood((index - 1, index, index + 1), *planes) for index in removed)
    return CleanedScan((Entry(number, Path(f"/data/{SECRET}")),), order, pictures)


SCANS = (cleaned(1), cleaned(2, 4, 6))
FAILED = (Unreadable(Entry(3, Path(f"/data/{SECRET}")), f"The folder {SECRET} is empty."),)


def test_the_page(tmp_path: Path) -> None:
    write_curation_page(SCANS, tmp_path / "a.html", unreadable=FAILED, run={"threshold": 5})
    page = Page(tmp_path / "a.html")
    assert "2 scans with 18 slices: 2 slices of 1 scan resemble neither neighbour and are left out" in page.text
    images = page.all("img")
    assert [image.attributes["alt"] for image in images[:3]] == [
        "row-00002, slice 3",
        "row-00002, slice 4, removed",
        "row-00002, slice 5",
    ]
    assert len(images) == 6
    assert images[0].attributes["width"] == "224"
    assert len(page.all("figure", class_="out")) == 2
    assert "24 bits from the slice before, 34 from the slice after" in page.text
    assert "row-00003" in page.text
    assert SECRET not in page.source


def test_nothing_removed_and_much_removed(tmp_path: Path) -> None:
    write_curation_page(SCANS[:1], tmp_path / "a.html")
    assert "every slice resembles a neighbour" in Page(tmp_path / "a.html").text
    write_curation_page(SCANS, tmp_path / "b.html", shown=1)
    page = Page(tmp_path / "b.html")
    assert len(page.all("img")) == 3
    assert "1 more stand in removed.csv" in page.text


def test_nothing_that_could_be_read(tmp_path: Path) -> None:
    write_curation_page((), tmp_path / "a.html", unreadable=FAILED)
    page = Page(tmp_path / "a.html")
    assert "0 scans with 0 slices. 1 could not be read." in " ".join(page.text.split())
    assert "every slice" not in page.text


def test_json_and_csv(tmp_path: Path) -> None:
    write_curation_json(SCANS, tmp_path / "a.json", unreadable=FAILED, run={"threshold": 5})
    record = json.loads((tmp_path / "a.json").read_text())
    assert [scan["slices"] for scan in record["scans"]] == [9, 9]
    assert [one["index"] for one in record["scans"][1]["removed"]] == [4, 6]
    assert SECRET not in (tmp_path / "a.json").read_text()
    write_curation_csv(SCANS, tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").open(newline="")))
    assert [(row["id"], row["slice"], row["distance_before"]) for row in rows] == [
        ("row-00002", "4", "24"),
        ("row-00002", "6", "26"),
    ]
