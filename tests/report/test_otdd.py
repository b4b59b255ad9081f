"""The page of distances: bars with their intervals, heat maps as tables, and nobody's name."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidct.curation import Entry, LabelledSet, Unreadable, compare_sets
from covidct.report import ComparedSet, OtddReport, write_otdd_page
from tests.report.page import Page

SECRET = "Miller_Anna_19541230"  # noqa: S105 - a name of a file


def labelled(seed: int, shift: float) -> LabelledSet:
    """Two classes of twelve subjects each."""
    rng = np.random.default_rng(seed)
    y = ["<b>ill</b>"] * 12 + ["well"] * 12
    x = rng.normal(size=(24, 4)).astype(np.float32) + np.repeat([0.0, 5.0], 12)[:, None].astype(np.float32) + shift
    return LabelledSet(x, y, [f"s{number}" for number in range(24)])


@pytest.fixture
def page(tmp_path: Path) -> Page:
    compared = compare_sets(labelled(0, 0.0), labelled(1, 1.0), resamples=5)
    lost = Unreadable(Entry(7, Path(f"/data/{SECRET}.png")), f"The file {SECRET}.png is damaged.")
    report = OtddReport(
        "A title", "A question?", "first", (ComparedSet("second", compared),), unreadable={"first": [lost]}
    )
    paths = write_otdd_page(report, tmp_path)
    assert [path.name for path in paths] == ["otdd.html", "heat_map_1.png"]
    assert np.asarray(cv2.imread(str(paths[1]))).std() > 20
    return Page(paths[0])


def test_the_heat_map_is_a_table_that_fits_any_width(page: Page) -> None:
    (table,) = page.all("table", class_="heat")
    assert "<b>ill</b>n = 12" in table.text
    assert not page.all("img")
    cells = [cell for cell in page.all("td") if "background:" in cell.attributes.get("style", "")]
    assert len(cells) == 4
    numbers = np.array([float(re.sub(",.*", "", cell.text)) for cell in cells]).reshape(2, 2)
    nearest = [("nearest" in cell.attributes["class"].split()) for cell in cells]
    assert np.array_equal(np.flatnonzero(nearest), numbers.argmin(1) + np.array([0, 2]))
    assert sum("nearest of the row" in cell.text for cell in cells) == 2
    assert len(page.all("div", class_="scale")) == 1


def test_the_interval_is_drawn_below_its_numbers(page: Page) -> None:
    (bar,) = page.all("span", class_="ci")
    assert [cell for cell in page.all("td") if " to " in cell.text]
    assert "--l:" in bar.attributes["style"]
    assert "min-width" not in page.source.partition("<main")[2]


def test_what_could_not_be_read_names_nobody(page: Page) -> None:
    assert "row-00007" in page.text
    assert "(input) is damaged" in page.text
    assert SECRET not in page.source
