"""Lesions on the page of a scan and in the table of a cohort."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.functional import lesion_table
from covidct.labels import LESION_CLASSES
from covidct.report import write_cohort_csv, write_scan_page
from covidct.report.lesions import lesion_view
from covidct.result import CohortResult, LesionBox, LesionPreview, ScanResult
from tests.report.page import Page
from tests.report.samples import RUN, failed, scan
from tests.report.test_pictures import pixels

if TYPE_CHECKING:
    from pathlib import Path

SHA = "c0ffee" * 10
ROW: dict[str, Any] = {
    "lesion": "ground_glass_opacity",
    "objects": 7,
    "volume_ml": 565.51,
    "right_percent": 4.84,
    "left_percent": 17.46,
    "lungs_percent": 11.02,
    "side": "both",
    "peripheral_percent": 83.4,
    "lungs_peripheral_percent": 73.2,
    "mean_hu": -603.4,
    "unknown": (),
}
ROWS = (
    ROW,
    ROW | {"lesion": "consolidation", "objects": 2, "volume_ml": 2.31, "side": "left", "mean_hu": 12.0},
    ROW | {"lesion": "all", "objects": 8, "volume_ml": 567.82},
)


def lesion_preview(count: int = 3, *, boxes: bool = True) -> LesionPreview:
    """Slices of 40 x 64 pixels, the first one without any lesion."""
    labels = np.zeros((count, 40, 64), np.uint8)
    labels[1:, 10:20, 8:18], labels[1:, 12:16, 40:50] = 1, 2
    found = ((), *[(LesionBox((8, 10, 18, 20), 1, 0.931), LesionBox((40, 12, 50, 16), 2, 0.5))] * (count - 1))
    return LesionPreview(
        slices=np.full(labels.shape, 90, np.uint8),
        labels=labels,
        boxes=found if boxes else (),
        indices=tuple(range(20, 20 + count)),
    )


def example(**changes: object) -> ScanResult:
    """A scan with lesions."""
    values: dict[str, Any] = {
        "lesions": ROWS,
        "lesion_source": f"checkpoint:{SHA}",
        "lesion_preview": lesion_preview(),
    } | changes
    return scan(1, [0.1, 0.2, 0.7], **values)


def cells(page: Page) -> list[str]:
    """Cells of the lesion table, row by row."""
    return [" ".join(cell.text.split()) for cell in page.elements if cell.tag in ("th", "td")]


def test_the_page_has_the_numbers_the_source_and_the_pictures(tmp_path: Path) -> None:
    write_scan_page(example(), RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    assert f"Found by a trained network, sha256 {SHA}." in page.text
    found = cells(page)
    for title, row in (
        ("Ground-glass opacity", "7 565.5 4.8 17.5 11.0 both 83 \N{MINUS SIGN}603"),
        ("Consolidation", "2 2.3 4.8 17.5 11.0 left 83 12"),
        ("All lesions", "8 567.8 4.8 17.5 11.0 both 83 \N{MINUS SIGN}603"),
    ):
        start = found.index(title) + 1
        assert found[start : start + 8] == row.split()
    assert "at most 20 mm from the surface" in page.text
    assert "73 % of these lungs" in page.text
    assert "dash" not in page.text
    figures = [figure for figure in page.all("figure") if figure.attributes.get("id", "").startswith("lesions-")]
    assert [figure.attributes["id"] for figure in figures] == ["lesions-20", "lesions-21", "lesions-22"]
    assert "none found" in figures[0].text
    assert "GGO 0.93" in figures[1].text
    assert "C 0.50" in figures[1].text
    assert len(page.all("rect", class_="box")) == 4
    assert page.all("input", class_="t-lesions")
    assert page.all("input", class_="t-boxes")


def test_masks_are_in_the_colours_of_the_slides_and_transparent_elsewhere() -> None:
    view = lesion_view(example())
    assert view is not None
    assert view.pictures[0].lesions == ""
    shown, labels = pixels(view.pictures[1].lesions), lesion_preview().labels[1]
    assert shown.shape == (40, 64, 4)
    assert shown[labels == 1].tolist()[0] == [0, 0, 255, 102]  # blue, green, red, alpha
    assert shown[labels == 2].tolist()[0] == [255, 0, 0, 102]
    assert not shown[labels == 0].any()
    np.testing.assert_array_equal(pixels(view.pictures[1].image), lesion_preview().slices[1])


@pytest.mark.parametrize("corner", [(0, 0), (60, 0), (0, 38), (60, 38), (30, 20)])
def test_labels_stay_on_the_picture(corner: tuple[int, int]) -> None:
    x, y = corner
    shown = replace(lesion_preview(1), boxes=((LesionBox((x, y, x + 4, y + 2), 1, 0.5),),))
    view = lesion_view(example(lesion_preview=shown))
    assert view is not None
    (tag,) = view.pictures[0].tags
    assert (tag.x, tag.y, tag.width, tag.height) == (x, y, 4, 2)
    assert tag.left >= 0
    assert tag.top >= 0
    assert tag.left + tag.across <= 64.1
    assert tag.top + tag.tall <= 40.1


def test_ranked_regions_have_pictures_of_their_own_beside_the_lesions(tmp_path: Path) -> None:
    write_scan_page(example(region_preview=lesion_preview(2)), RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    named = [figure.attributes.get("id", "") for figure in page.all("figure")]
    assert [name for name in named if name.startswith("lesions-")] == ["lesions-20", "lesions-21", "lesions-22"]
    assert [name for name in named if name.startswith("regions-")] == ["regions-20", "regions-21"]
    assert "Regions that the diagnosis rests on" in page.text
    write_scan_page(example(), RUN, tmp_path / "scan.html")
    assert "Regions that the diagnosis rests on" not in Page(tmp_path / "scan.html").text


def test_at_most_six_pictures() -> None:
    view = lesion_view(example(lesion_preview=lesion_preview(20)))
    assert view is not None
    indices = [picture.index for picture in view.pictures]
    assert len(indices) == 6
    assert indices == sorted(indices)


def test_one_class_has_one_name_and_colour(tmp_path: Path) -> None:
    merged = replace(lesion_preview(), labels=(lesion_preview().labels > 0).astype(np.uint8), boxes=())
    merged = replace(merged, names=LESION_CLASSES["merge"], words=("a", "b", "c"))
    write_scan_page(example(lesion_preview=merged, lesions=ROWS[2:]), RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    assert "Ground-glass" not in page.text
    assert not page.all("input", class_="t-boxes")
    view = lesion_view(example(lesion_preview=merged))
    assert view is not None
    assert view.legend == [("Lesion", "#ff0000")]
    assert [picture.words for picture in view.pictures] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"spacing"}, "the spacing of the scan is unknown"),
        ({"lung_mask"}, "there is no lung mask"),
        ({"hu"}, "not in Hounsfield units"),
        (set(), "there is nothing to measure"),
    ],
)
def test_dashes_are_explained(given: set[str], sentence: str, tmp_path: Path) -> None:
    lesions, lungs = np.zeros((4, 20, 20), np.uint8), np.ones((4, 20, 20), np.uint8)
    lungs[..., 10:] = 2
    if given:
        lesions[1:3, 2:6, 2:6], lesions[1:3, 8:10, 2:6] = 1, 2
    known: dict[str, Any] = {"lung_mask": lungs, "hu": np.zeros(lungs.shape), "spacing": (1.0, 1.0, 1.0)}
    rows = lesion_table(lesions, **{key: value for key, value in known.items() if key not in given})
    shown = example(lesions=tuple(row.to_dict() for row in rows))
    write_scan_page(shown, RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    assert sentence in page.text
    assert page.text.count("Where a dash stands") == 1
    assert "nan" not in page.text.lower().replace("predominant", "").split()
    assert "None" not in cells(page)


def test_scans_without_lesions_have_no_such_section(tmp_path: Path) -> None:
    write_scan_page(scan(1, [0.1, 0.2, 0.7]), RUN, tmp_path / "scan.html")
    assert "Lesion" not in Page(tmp_path / "scan.html").text
    assert lesion_view(scan(1, [0.1, 0.2, 0.7])) is None


def test_cohort_csv_has_lesion_columns_when_any_scan_has_lesions(tmp_path: Path) -> None:
    bare = ROW | {"volume_ml": float("nan"), "lungs_percent": None}
    unknown = (bare, bare | {"lesion": "consolidation", "volume_ml": None}, bare | {"lesion": "all"})
    cohort = CohortResult((example(), example(lesions=unknown), scan(2, [0.1, 0.2, 0.7]), failed(1)), RUN)
    write_cohort_csv(cohort, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    columns = ("ggo_ml", "consolidation_ml", "lesions_percent")
    assert [table[0][column] for column in columns] == ["565.51", "2.31", "11.02"]
    for row in table[1:]:
        assert [row[column] for column in columns] == ["", "", ""]
    write_cohort_csv(CohortResult(cohort.scans[2:], RUN), tmp_path / "b.csv")
    assert "ggo_ml" not in (tmp_path / "b.csv").read_text()
