"""The page of a cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covidct.report import write_cohort_page
from covidct.result import CohortResult
from tests.report.page import Page
from tests.report.samples import evaluated, failed, scan

if TYPE_CHECKING:
    from pathlib import Path


def test_one_row_per_scan_with_picture_and_link(tmp_path: Path) -> None:
    _, cohort = evaluated(6)
    links = {each.id: f"scans/{each.id}.html" for each in cohort.scans if each.id != "case-001"}
    write_cohort_page(cohort, tmp_path / "cohort.html", links=links)
    page = Page(tmp_path / "cohort.html")
    assert "8 inputs: 6 done, 2 failed" in page.text
    assert [cell.text for cell in page.all("th", class_="id")] == [each.id for each in cohort.scans]
    targets = [link.attributes["href"] for link in page.all("a") if "scans/" in link.attributes["href"]]
    assert targets == [f"./{links[each.id]}" for each in cohort.scans if each.id in links and each.status == "done"]
    assert len(page.all("td", class_="thumb")) == len(page.all("img")) == 6
    assert "It is an X-ray." in page.text


def test_counts_per_class_add_up(tmp_path: Path) -> None:
    _, cohort = evaluated(9)
    write_cohort_page(cohort, tmp_path / "cohort.html")
    page = Page(tmp_path / "cohort.html")
    counts = [int(element.text) for element in page.all("p", class_="value")]
    assert counts == [sum(each.predicted == name for each in cohort.scans) for name in ("normal", "cap", "covid")]
    assert len(page.all("circle")) == 9


def test_nothing_but_failures_and_nothing_at_all(tmp_path: Path) -> None:
    write_cohort_page(CohortResult((failed(1),)), tmp_path / "cohort.html")
    assert "1 input: 0 done, 1 failed" in Page(tmp_path / "cohort.html").text
    write_cohort_page(CohortResult(()), tmp_path / "cohort.html")
    assert "0 inputs" in Page(tmp_path / "cohort.html").text


def test_without_pictures_there_is_no_column_for_them(tmp_path: Path) -> None:
    write_cohort_page(CohortResult((scan(1, [0.2, 0.3, 0.5], preview=None),)), tmp_path / "cohort.html")
    page = Page(tmp_path / "cohort.html")
    assert not page.all("img")
    assert "Truth" not in page.text


def test_columns_of_what_nobody_measured_are_left_out(tmp_path: Path) -> None:
    bare = scan(1, [0.2, 0.3, 0.5], lungs_ml={}, seconds={})
    measured = scan(2, [0.2, 0.3, 0.5], lesions=({"lesion": "all", "lungs_percent": 12.34},))
    write_cohort_page(CohortResult((bare, bare)), tmp_path / "bare.html")
    page = Page(tmp_path / "bare.html")
    assert "Lungs, ml" not in page.text
    assert "Lesions" not in page.text
    write_cohort_page(CohortResult((bare, measured)), tmp_path / "full.html")
    page = Page(tmp_path / "full.html")
    values = [cell.attributes["data-value"] for cell in page.all("td", class_="num")]
    assert "5012" in values  # 2710.4 + 2301.6 ml
    assert "12.34" in values
    assert [cell.text for cell in page.all("td", class_="num")].count("\N{EN DASH} / \N{EN DASH}") == 1


def test_distributions_are_drawn_of_what_is_known(tmp_path: Path) -> None:
    scans = tuple(
        scan(number, [0.2, 0.3, 0.5], lungs_ml={"right": 1000.0 + 100 * number, "left": 900.0}) for number in range(8)
    )
    write_cohort_page(CohortResult(scans), tmp_path / "cohort.html")
    page = Page(tmp_path / "cohort.html")
    assert "Volume of both lungs" in page.text
    assert "Lesions in the lungs" not in page.text
    counts = [int(title.text.rpartition(": ")[2].split()[0]) for title in page.all("title") if "scans" in title.text]
    assert sum(counts) == 8
