"""Every figure on the evaluation page comes from the report."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from covidct.labels import BINARY_CLASSES
from covidct.metrics import report_from_confusion, triage_report
from covidct.report import write_evaluation_page
from covidct.result import CohortResult
from tests.report.page import Page
from tests.report.samples import evaluated

if TYPE_CHECKING:
    from pathlib import Path


def test_figures_are_those_of_the_report(tmp_path: Path) -> None:
    report, cohort = evaluated()
    write_evaluation_page(report, cohort, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    shown = [element for element in page.elements if "data-metric" in element.attributes]
    for element in shown:
        estimate = report.scores[element.attributes["data-metric"]][element.attributes["data-scope"]]
        assert f"{estimate.value:.3f}" in element.text
        if element.tag != "b":
            assert f"{estimate.low:.3f} to {estimate.high:.3f}" in element.text
    found = {(element.attributes["data-metric"], element.attributes["data-scope"]) for element in shown}
    every = {(row["metric"], row["scope"]) for row in report.table()}
    assert every - found == {("accuracy", scope) for scope in report.scores["accuracy"] if scope != "overall"}


def test_confusion_matrix_and_cases(tmp_path: Path) -> None:
    report, cohort = evaluated()
    write_evaluation_page(report, cohort, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    cells = [
        element.text for element in page.all("td", class_="num") if "--share" in element.attributes.get("style", "")
    ]
    expected = [f"{count}{100 * count / sum(row):.0f} %" for row in report.confusion for count in row]
    assert cells == expected
    for scan in cohort.scans:
        assert scan.id in page.text
        assert scan.error in page.text
    wrong = sum(scan.label != scan.predicted for scan in cohort.scans if scan.status == "done")
    assert len(page.all("tr", class_="wrong")) == wrong
    assert "ab" * 32 in page.text


def test_gallery_shows_wrong_ones_first_and_keeps_its_limit(tmp_path: Path) -> None:
    report, cohort = evaluated()
    write_evaluation_page(report, cohort, tmp_path / "report.html", gallery=6, slices=2)
    page = Page(tmp_path / "report.html")
    cards = page.all("li", class_="scan")
    wrong = ["wrong" in card.attributes["class"].split() for card in cards]
    assert len(cards) <= 6
    assert wrong == sorted(wrong, reverse=True)
    assert any(wrong)
    assert len(page.all("figure", class_="slice")) == 2 * len(cards)
    assert len(page.all("img", class_="weights")) == 2 * len(cards)
    write_evaluation_page(report, cohort, tmp_path / "none.html", gallery=0)
    assert not Page(tmp_path / "none.html").all("figure", class_="slice")


def test_phantoms_are_named_as_such_when_told(tmp_path: Path) -> None:
    report, cohort = evaluated()
    for phantoms in (True, False):
        write_evaluation_page(report, cohort, tmp_path / "report.html", phantoms=phantoms)
        assert ("simulated test objects, not patients" in Page(tmp_path / "report.html").text) is phantoms


def test_undefined_scores_and_notes(tmp_path: Path) -> None:
    report = triage_report(np.array([[0.3, 0.7], [0.6, 0.4]]), [1, 1], [0, 1], BINARY_CLASSES, resamples=20)
    write_evaluation_page(report, CohortResult(()), tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert "nan" not in page.text.lower()
    assert all(note in page.text for note in report.notes)
    auroc = next(element for element in page.all("td") if element.attributes.get("data-metric") == "auroc")
    assert auroc.text == "\N{EN DASH}"


def test_a_report_from_a_matrix_has_a_page_too(tmp_path: Path) -> None:
    report = report_from_confusion([[557, 40], [52, 1413]], BINARY_CLASSES, resamples=0)
    write_evaluation_page(report, CohortResult(()), tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert "0.965" in page.text
    assert not page.all("svg")
    assert math.isnan(report.scores["f1"]["covid"].low)


def test_pages_are_small(tmp_path: Path) -> None:
    report, cohort = evaluated()
    bare = CohortResult(tuple(dataclasses.replace(scan, preview=None) for scan in cohort.scans))
    write_evaluation_page(report, bare, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 100_000


def test_the_gallery_explains_grad_cam_where_there_is_one(tmp_path: Path) -> None:
    report, cohort = evaluated()
    with_cam = [
        dataclasses.replace(
            one, preview=dataclasses.replace(one.preview, cam=np.ones((3, 2, 2), np.float32), cam_class="covid")
        )
        for one in cohort.scans
        if one.preview is not None
    ]
    write_evaluation_page(report, cohort, tmp_path / "without.html")
    assert "Grad-CAM" not in Page(tmp_path / "without.html").text
    write_evaluation_page(report, dataclasses.replace(cohort, scans=tuple(with_cam)), tmp_path / "with.html")
    page = Page(tmp_path / "with.html")
    assert "largest value found on training scans" in page.text
    assert page.all("img", class_="cam")
