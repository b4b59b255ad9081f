"""The page of one scan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.report import write_scan_page
from covidct.result import ScanResult
from tests.report.page import Page
from tests.report.samples import RUN, failed, preview, scan

if TYPE_CHECKING:
    from pathlib import Path


def test_everything_known_is_told(tmp_path: Path) -> None:
    write_scan_page(scan(1, [0.1, 0.2, 0.7], "cap"), RUN, tmp_path / "scan.html", back="../cohort.html")
    page = Page(tmp_path / "scan.html")
    for text in (
        "COVID-19 70.0 %",
        "Other pneumonia20.0 %",
        "wrong",
        "90 slices of 500 \N{MULTIPLICATION SIGN} 512 pixels, 2.5 mm apart",
        "0.71 \N{MULTIPLICATION SIGN} 0.7 mm",
        "Read from DICOM.",
        "The file names are not in order.",
        "2710 ml",
        "210 ms",
        "2.7 s",
        "-1250, 250",
    ):
        assert text in page.text, text
    assert page.all("a", href="./../cohort.html")


def test_dots_of_the_score_curve_lead_to_their_slices(tmp_path: Path) -> None:
    write_scan_page(scan(1, [0.1, 0.2, 0.7]), RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    for index in (10, 11, 12):
        assert page.all("a", href=f"#slice-{index}")
        assert page.all("figure", id_=f"slice-{index}")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("threshold", "mask by an air threshold and anatomy"),
        ("checkpoint:c0ffee", "mask by a trained network, sha256 c0ffee"),
        ("lung_field", "mask by the published lung field"),
        ("none", ""),
    ],
)
def test_where_the_lung_mask_is_from(source: str, words: str, tmp_path: Path) -> None:
    write_scan_page(scan(1, [0.1, 0.2, 0.7], mask_source=source), RUN, tmp_path / "scan.html")
    text = Page(tmp_path / "scan.html").text.replace("mask by", "mask by ").replace("  ", " ")
    assert words in text
    assert ("mask by" in text) == bool(words)


def test_grad_cam_is_drawn_in_its_fixed_scale_and_explained(tmp_path: Path) -> None:
    cam = np.zeros((3, 2, 2), np.float32)
    cam[1, 0, 0] = 0.5
    shown = replace(preview(), cam=cam, cam_class="covid")
    write_scan_page(scan(1, [0.1, 0.2, 0.7], preview=shown), RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    assert len(page.all("img", class_="cam")) == 3
    assert "largest value found on training scans of COVID-19" in page.text
    assert "2 \N{MULTIPLICATION SIGN} 2 cells per slice" in page.text
    assert "No Grad-CAM" not in page.text
    assert page.all("input", class_="t-cam")


def test_without_a_scale_no_grad_cam_is_drawn_and_the_page_says_why(tmp_path: Path) -> None:
    shown = replace(preview(), cam_class="covid")
    write_scan_page(scan(1, [0.1, 0.2, 0.7], preview=shown), RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    assert "No Grad-CAM is drawn: this checkpoint keeps no scale" in page.text
    assert not page.all("img", class_="cam")
    write_scan_page(scan(1, [0.1, 0.2, 0.7]), RUN, tmp_path / "unasked.html")
    assert "Grad-CAM" not in Page(tmp_path / "unasked.html").text


def test_a_failed_scan_says_why(tmp_path: Path) -> None:
    write_scan_page(failed(1, "The series has 2 slices."), RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    assert "The series has 2 slices." in page.text
    assert "Nothing odd" not in page.text
    assert not page.all("img")


@pytest.mark.parametrize(
    "bare",
    [
        ScanResult(id="x", status="done", probabilities={"a": 1.0, "b": 0.0}, predicted="a"),
        scan(1, [0.1, 0.2, 0.7], slice_scores=(float("nan"),) * 5, preview=preview(weights=False)),
        scan(1, [0.1, 0.2, 0.7], geometry={"shape": [8, 9, 9], "spacing": [float("nan")] * 3}, slice_scores=(0.5,)),
        scan(
            1,
            [0.1, 0.2, 0.7],
            lungs_ml={"right": float("nan"), "left": 1.0},
            slice_scores=(-3.0, 9.0, float("nan"), 2.0),
        ),
        scan(1, [0.1, 0.2, 0.7], geometry={"shape": [512, 512], "spacing": [0.2, 0.2]}, preview=preview(0)),
    ],
    ids=["bare", "no weights", "no spacing", "odd figures", "picture"],
)
def test_what_is_missing_is_left_out(bare: ScanResult, tmp_path: Path) -> None:
    write_scan_page(bare, {}, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    words = page.text.lower().replace("predominant", "").split()
    assert "nan" not in words
    assert "none" not in words
    assert not page.all("img", class_="weights") or bare.preview is not None
