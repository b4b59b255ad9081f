"""Slice attention on pages and in tables: shares, never probabilities."""

from __future__ import annotations

import base64
import csv
import dataclasses
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from covidct.labels import BINARY_CLASSES
from covidct.metrics import VolumeSlices, slice_report, triage_report
from covidct.report import write_cohort_csv, write_evaluation_page, write_scan_page, write_slices_csv
from covidct.report.attention import attention_view, index_ranges
from covidct.result import AttentionMontage, CohortResult, ScanResult
from tests.report.page import Page
from tests.report.samples import RUN, failed, scan

if TYPE_CHECKING:
    from pathlib import Path

SHARES = (0.05, 0.1, 0.3, 0.25, 0.2, 0.1, float("nan"))  # of 6 real slices: even is 1/6


def attended(**changes: object) -> ScanResult:
    slices = np.arange(2 * 8 * 6, dtype=np.uint8).reshape(2, 8, 6)
    values: dict[str, Any] = {
        "attention": SHARES,
        "positive_slices": (2, 3, 4),
        "slice_scores": (),
        "montage": AttentionMontage(slices, slices // 2, (0, 2)),
        **changes,
    }
    return scan(1, [0.1, 0.2, 0.7], **values)


def test_page_shows_chart_montage_and_positive_slices(tmp_path: Path) -> None:
    write_scan_page(attended(), RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    assert "scan predicted COVID-19: 2 to 4, counted from 0 at the feet" in page.text
    assert "times the 6 slices" in page.text
    assert "not a probability" in page.text
    for index, times, tag in ((0, "0.30", False), (2, "1.80", True)):
        (figure,) = page.all("figure", id_=f"attention-{index}")
        assert f"slice {index}: {times}" in figure.text
        assert ("positive" in figure.text) is tag
        assert page.all("a", href=f"#attention-{index}")
    assert len(page.all("path", class_="diagonal")) == 1


def test_montage_keeps_its_pixels() -> None:
    view = attention_view(attended())
    assert view is not None
    for pair, slice_ in zip(view.pairs, attended().montage.slices, strict=True):  # type: ignore[union-attr]
        for uri, wanted in ((pair.image, slice_), (pair.faded, slice_ // 2)):
            data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
            found = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            assert found is not None
            np.testing.assert_array_equal(found, wanted)


def test_dashed_line_is_the_even_share() -> None:
    view = attention_view(attended())
    assert view is not None
    assert view.chart is not None
    frame = view.chart.frame
    assert view.chart.diagonal == frame.line((0, 6), (1, 1))
    assert view.chart.dots[1].y == frame.at_y(6 * 0.3)


def test_a_scan_predicted_negative_has_no_positive_slices(tmp_path: Path) -> None:
    write_scan_page(attended(positive_slices=(), montage=None), RUN, tmp_path / "scan.html")
    text = Page(tmp_path / "scan.html").text
    assert "No slice is called positive" in text
    assert "Montage" not in text


def test_a_network_without_attention_says_why(tmp_path: Path) -> None:
    note = "The variant takes the mean over the slices."
    bare = attended(attention=(), positive_slices=(), montage=None, slice_note=note)
    write_scan_page(bare, RUN, tmp_path / "scan.html")
    assert note in Page(tmp_path / "scan.html").text
    write_scan_page(scan(1, [0.1, 0.2, 0.7]), RUN, tmp_path / "scan.html")
    assert "Slice attention" not in Page(tmp_path / "scan.html").text


def test_single_slices_and_even_shares_have_a_page(tmp_path: Path) -> None:
    for shares in ((1.0,), (float("nan"),), (0.5, 0.5)):
        write_scan_page(attended(attention=shares, positive_slices=(), montage=None), RUN, tmp_path / "scan.html")
        assert "nan" not in Page(tmp_path / "scan.html").text.replace("predominant", "")


@pytest.mark.parametrize(
    ("indices", "words"), [((), ""), ((4,), "4"), ((1, 3, 4, 5, 9, 10), "1, 3 to 5, 9 to 10")], ids=str
)
def test_ranges(indices: tuple[int, ...], words: str) -> None:
    assert index_ranges(indices) == words


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_tables_carry_attention(tmp_path: Path) -> None:
    cohort = CohortResult((attended(), scan(2, [0.1, 0.2, 0.7]), failed(0)))
    write_cohort_csv(cohort, tmp_path / "cohort.csv")
    first, second, third = rows(tmp_path / "cohort.csv")
    assert (first["attention_slice"], first["positive_slices"]) == ("2", "3")
    assert float(first["attention_times_slices"]) == pytest.approx(1.8)
    assert second["positive_slices"] == second["attention_slice"] == third["positive_slices"] == ""
    write_slices_csv(cohort, tmp_path / "slices.csv")
    table = rows(tmp_path / "slices.csv")
    assert [int(row["slice"]) for row in table] == list(range(6))
    assert sum(float(row["attention"]) for row in table) == pytest.approx(1)
    assert sum(float(row["attention_times_slices"]) for row in table) == pytest.approx(6)
    assert [row["positive"] for row in table] == list("001110")


def test_evaluation_page_sets_pooled_and_mean_slice_scores_side_by_side(tmp_path: Path) -> None:
    report = triage_report(np.array([[0.3, 0.7], [0.6, 0.4]]), [1, 0], [0, 1], BINARY_CLASSES, resamples=20)
    volumes = [
        VolumeSlices(np.array([0.1, 0.6, 0.3]), np.array([0, 1, 1]), diagnosed=True, subject=0),
        VolumeSlices(np.full(4, 0.25), np.zeros(4, dtype=np.int64), diagnosed=False, subject=1),
    ]
    slices = slice_report(volumes, positive="covid", resamples=20)
    write_evaluation_page(dataclasses.replace(report, slices=slices), CohortResult(()), tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    cells = {
        (e.attributes["data-slice-metric"], e.attributes["data-scope"]): e.text
        for e in page.elements
        if "data-slice-metric" in e.attributes
    }
    assert set(cells) == {(metric, scope) for metric, row in slices.scores.items() for scope in row}
    assert cells["sensitivity", "pooled"].startswith("0.500")  # 0.6 is at least 1/3, 0.3 is not
    assert cells["accuracy", "pooled"].startswith("0.857")
    assert cells["accuracy", "volume_mean"].startswith("0.833")
    assert "7 slices of 2 scans, 2 of them true for COVID-19" in page.text
    write_evaluation_page(report, CohortResult(()), tmp_path / "plain.html")
    assert "Slices with findings" not in Page(tmp_path / "plain.html").text
