"""Every slice of a scan, compressed for its page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from covidct.inference.viewer import GREY_KNOTS, make_viewer
from covidct.result import LesionPreview, Preview, ScanResult
from covidct.volume import Volume, unknown_affine

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULT = ScanResult(id="x", status="done", probabilities={"normal": 0.2, "covid": 0.8}, predicted="covid")


def decoded(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a picture, as one channel where it has one."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


def smooth(shape: tuple[int, int, int], low: float, high: float) -> NDArray[np.int16]:
    """A ramp across the columns."""
    return np.broadcast_to(np.linspace(low, high, shape[2]), shape).astype(np.int16)


@pytest.mark.parametrize(("low", "high", "off"), [(-1000, -200, 15), (-160, 240, 8.5), (300, 1400, 63)])
def test_greys_lead_back_to_hounsfield_units(low: float, high: float, off: float) -> None:
    # two steps of grey: one of rounding, one of the JPEG
    hu = smooth((3, 64, 80), low, high)
    viewer = make_viewer(Volume(hu, np.diag([0.8, 0.8, 2.5, 1.0])), RESULT)
    assert (viewer.size, viewer.source, viewer.quality, viewer.step) == ((64, 80), (64, 80), 85, 2.5)
    knots, greys = zip(*viewer.knots, strict=True)
    for picture, plane in zip(viewer.slices, hu, strict=True):
        back = np.interp(decoded(picture), greys, knots)
        assert np.abs(back - plane).max() < off


def test_what_lies_beyond_the_knots_is_their_end() -> None:
    hu = np.full((1, 32, 32), -3000, np.int16)
    hu[:, :, 16:] = 3000
    for array in (hu, hu.astype(np.float32), hu.astype(np.int32)):
        (picture,) = make_viewer(Volume(array, unknown_affine()), RESULT).slices
        assert (decoded(picture)[4, 2], decoded(picture)[4, 30]) == (0, 255)
    assert GREY_KNOTS[0][1] == 0
    assert GREY_KNOTS[-1][1] == 255


def test_display_values_stay_as_they_are() -> None:
    unit = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32), (2, 48, 64))
    viewer = make_viewer(Volume(unit, unknown_affine(), intensity="unit"), RESULT)
    assert viewer.knots == ()
    assert np.abs(decoded(viewer.slices[1]).astype(float) - 255 * unit[1]).max() < 4
    assert np.isnan(viewer.step)
    assert viewer.aspect == 64 / 48


def test_pixels_that_are_no_squares_have_an_aspect() -> None:
    viewer = make_viewer(Volume(np.zeros((2, 40, 50), np.int16), np.diag([0.5, 1.0, 3.0, 1.0])), RESULT)
    assert viewer.aspect == pytest.approx(50 * 0.5 / 40)


def test_masks_are_kept_to_the_pixel() -> None:
    lungs = np.zeros((4, 32, 32), np.uint8)
    lungs[1:3, 4:20, 3:12], lungs[2, 8:16, 20:30] = 1, 2
    volume = Volume(np.zeros(lungs.shape, np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
    viewer = make_viewer(volume, RESULT, lung_mask=lungs)
    assert [bool(picture) for picture in viewer.lungs] == [False, True, True, False]
    for index in (1, 2):
        np.testing.assert_array_equal(decoded(viewer.lungs[index]), lungs[index])
    assert viewer.lesions == ()
    assert viewer.start == 2  # the most lung


def test_a_large_noisy_scan_keeps_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covidct.inference.viewer._BUDGET", 60_000)
    noise = np.random.default_rng(0).normal(-400, 250, (24, 128, 96)).astype(np.int16)
    mask = np.ones(noise.shape, np.uint8)
    viewer = make_viewer(Volume(noise, np.diag([1.0, 1.0, 1.0, 1.0])), RESULT, lung_mask=mask)
    assert len(viewer.slices) == 24
    assert sum(map(len, viewer.slices)) < 66_000
    assert viewer.size[0] / viewer.size[1] == pytest.approx(128 / 96, abs=0.02)
    assert viewer.size < viewer.source == (128, 96)
    assert decoded(viewer.slices[0]).shape == decoded(viewer.lungs[0]).shape == viewer.size


def test_an_x_ray_is_finer_than_a_slice_among_many() -> None:
    grey = np.zeros((1, 2000, 1000), np.float32)
    (picture,) = make_viewer(Volume(grey, unknown_affine(), intensity="unit"), RESULT).slices
    assert decoded(picture).shape == (1536, 768)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"slice_scores": (0.1, float("nan"), 0.9, 0.2, 0.1, 0.3)}, 2),
        ({"attention": (0.1, 0.1, 0.1, 0.5, 0.1, 0.1)}, 3),
        ({"predicted": "normal", "slice_scores": (0.1, 0.2, 0.9, 0.2, 0.1, 0.3)}, 4),  # it speaks for health: lesions
    ],
)
def test_a_reader_begins_where_there_is_something_to_see(changes: dict[str, Any], start: int) -> None:
    lesions = np.zeros((6, 8, 8), np.uint8)
    lesions[4, 2:4, 2:4] = 1
    volume = Volume(np.zeros(lesions.shape, np.int16), unknown_affine())
    assert make_viewer(volume, replace(RESULT, **changes), lesion_mask=lesions).start == start


def test_maps_of_a_slice_classifier_are_those_of_its_preview() -> None:
    grey = np.zeros((2, 8, 8), np.uint8)
    preview = Preview(grey, grey, None, (1, 3), np.ones((2, 2, 2), np.float32), "covid")
    lesions = LesionPreview(grey[:1], grey[:1], (), (0,), ("background", "lesion"))
    volume = Volume(np.zeros((5, 8, 8), np.int16), unknown_affine())
    viewer = make_viewer(volume, replace(RESULT, preview=preview, lesion_preview=lesions))
    assert viewer.cam is not None
    assert viewer.cam.known.tolist() == [False, True, False, True, False]
    assert (viewer.cam_class, viewer.places, viewer.lesion_names) == ("covid", (), ("background", "lesion"))
