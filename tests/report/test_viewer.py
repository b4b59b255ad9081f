"""What a page knows of a viewer; what a browser makes of it stands in ``test_in_browser.py``."""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.report import write_scan_page
from covidct.report.viewer import slice_values, viewer_view
from covidct.result import Viewer
from tests.report.page import Page
from tests.report.samples import RUN, scan, viewed

if TYPE_CHECKING:
    from pathlib import Path


def test_greys_stand_for_the_units_of_the_map() -> None:
    view = viewer_view(viewed())
    assert view is not None
    values = view.data["values"]
    assert len(values) == 256
    assert (values[0], values[110], values[215], values[255]) == (-1024.0, -200.0, 240.0, 1500.0)
    assert values[55] == pytest.approx((-1024 - 200) / 2, abs=0.06)
    assert [(window.title, window.low, window.high) for window in view.windows] == [
        ("Lung", -1250.0, 250.0),
        ("Mediastinum", -160.0, 240.0),
    ]


def test_layers_come_from_the_lowest_to_the_highest_and_lesions_hide_the_heat() -> None:
    view = viewer_view(viewed())
    assert view is not None
    assert [(layer.name, layer.on) for layer in view.layers] == [
        ("attention", False),
        ("cam", False),
        ("weights", False),
        ("lesions", True),
        ("lungs", True),
    ]
    assert list(view.data["layers"]) == [layer.name for layer in view.layers]
    cam = view.data["layers"]["cam"]
    cells = np.frombuffer(base64.b64decode(cam["values"]), np.uint8).reshape(12, *cam["cells"])
    assert cells[5, 1, 1] == cells.max() == 255
    assert (cam["palette"][0], cam["palette"][255]) == ([0, 0, 255], [255, 0, 0])
    whole = viewed()
    assert whole.viewer is not None
    without = viewer_view(replace(whole, viewer=replace(whole.viewer, lesions=())))
    assert without is not None
    assert [layer.name for layer in without.layers if layer.on] == ["cam", "lungs"]


@pytest.mark.parametrize(
    ("values", "places", "expected"),
    [
        ((0.1, 0.9, 0.5), (), [0.1, 0.9, 0.5, math.nan]),  # a slice more than the network saw
        ((0.0, 1.0), (0, 3), [0.0, 1 / 3, 2 / 3, 1.0]),
        ((math.nan, 0.2, 0.4, math.nan), (0, 1, 2, 3), [math.nan, 0.2, 0.4, math.nan]),
        ((0.2, 0.4, 0.6, 0.8), (1, 1, 2, 2), [math.nan, 0.2, 0.6, math.nan]),  # finer than the scan
        ((math.nan, math.nan), (0, 3), []),
        ((), (), []),
    ],
)
def test_values_of_network_slices_go_to_the_scans(
    values: tuple[float, ...], places: tuple[int, ...], expected: list[float]
) -> None:
    viewer = Viewer((b"",) * 4, (1, 1), (1, 1), 85, places=places)
    np.testing.assert_allclose(slice_values(values, viewer), expected, atol=1e-12)


def test_the_page_says_what_the_pictures_are(tmp_path: Path) -> None:
    whole = viewed()
    assert whole.viewer is not None
    thinned = replace(whole, viewer=replace(whole.viewer, source=(512, 682)))
    for result, words in (
        (whole, "JPEG of 64 \N{MULTIPLICATION SIGN} 48 pixels, in grey"),
        (thinned, "thinned from 682"),
    ):
        write_scan_page(result, RUN, tmp_path / "scan.html")
        text = Page(tmp_path / "scan.html").text
        assert words in text
        assert "All figures of this page come from the scan itself" in text
    page = Page(tmp_path / "scan.html")
    assert len(page.all("canvas")) == 1
    assert page.all("canvas")[0].attributes["aria-valuemax"] == "11"
    assert not page.all("circle")  # the curve itself leads to slices
    assert len(page.all("figure", data_curve="scores")) == len(page.all("figure", data_curve="attention")) == 1


def test_a_checkpoint_without_a_scale_says_why_there_is_no_heat(tmp_path: Path) -> None:
    whole = viewed()
    assert whole.viewer is not None
    bare = replace(whole, viewer=replace(whole.viewer, cam=None))
    write_scan_page(bare, RUN, tmp_path / "scan.html")
    assert Page(tmp_path / "scan.html").text.count("No Grad-CAM is drawn: this checkpoint keeps no scale") == 1


def test_maps_of_some_slices_are_counted(tmp_path: Path) -> None:
    whole = viewed()
    assert whole.viewer is not None
    assert whole.viewer.cam is not None
    some = replace(whole.viewer.cam, known=np.arange(12) % 4 == 0)
    write_scan_page(replace(whole, viewer=replace(whole.viewer, cam=some)), RUN, tmp_path / "scan.html")
    assert "It was made for 3 of 12 slices" in Page(tmp_path / "scan.html").text


def test_without_a_viewer_there_is_no_script(tmp_path: Path) -> None:
    assert viewer_view(scan(1, [0.1, 0.2, 0.7])) is None
    write_scan_page(scan(1, [0.1, 0.2, 0.7]), RUN, tmp_path / "scan.html")
    page = Page(tmp_path / "scan.html")
    assert not page.all("script")
    assert not page.all("canvas")
