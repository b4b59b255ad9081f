"""What a test of a checkpoint says of a probability."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from covidct.report import write_scan_page
from covidct.report.calibration import calibration_note
from tests.report.page import Page
from tests.report.samples import RUN, scan

if TYPE_CHECKING:
    from pathlib import Path

TESTED: dict[str, Any] = {
    "cases": 120,
    "subjects": 110,
    "calibration_error": {"value": 0.061, "low": 0.03, "high": 0.1},
    "calibration": [
        {"lower": 9 / 15, "upper": 10 / 15, "cases": 3, "accuracy": 2 / 3},
        {"lower": 10 / 15, "upper": 11 / 15, "cases": 13, "accuracy": 11 / 13},
    ],
}


def test_the_share_that_was_right_has_wilsons_interval() -> None:
    note = calibration_note({"tested": TESTED}, 0.7)
    assert note is not None
    assert (note.cases, note.right, note.tested) == (13, 11, 120)
    # Wilson 1927 in closed form
    z, n, p = 1.959964, 13, 11 / 13
    centre, half = (p + z * z / (2 * n)), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    assert note.share.low == pytest.approx((centre - half) / scale, abs=1e-6)
    assert note.share.high == pytest.approx((centre + half) / scale, abs=1e-6)


def test_edges_belong_to_the_bin_below() -> None:
    at_edge = calibration_note({"tested": TESTED}, 10 / 15)
    assert at_edge is not None
    assert at_edge.cases == 3
    beyond = calibration_note({"tested": TESTED}, 0.99)
    assert beyond is not None
    assert (beyond.cases, beyond.tested) == (0, 120)
    assert math.isnan(beyond.share.value)
    assert calibration_note({}, 0.7) is None
    assert calibration_note({"tested": TESTED}, math.nan) is None


@pytest.mark.parametrize(
    ("prob", "run", "words"),
    [
        (0.7, {"tested": TESTED}, "it was 67 to 73 % sure of 13, and right in 11: 85 % (95 % interval 58 to 96 %)"),
        (0.95, {"tested": TESTED}, "None of the 120 scans of a test of this network had a figure near this one"),
        (0.7, {}, "How often such a figure is right is not known here"),
    ],
)
def test_the_page_says_what_is_known(tmp_path: Path, prob: float, run: dict[str, Any], words: str) -> None:
    rest = (1 - prob) / 2
    write_scan_page(scan(1, [rest, rest, prob]), RUN | run, tmp_path / "scan.html")
    text = Page(tmp_path / "scan.html").text
    assert words in text
    assert ("0.061 apart on average (0.030 to 0.100)" in text) == bool(run)
    assert "tested / cases" not in text
