"""Slices, outlines and weights as they are embedded."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from covidct.report.pictures import pictures, slice_uri, thumbnail
from covidct.result import Preview
from tests.report.samples import preview


def pixels(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Decode a data URI."""
    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def test_slices_are_lossless() -> None:
    shown = preview()
    for number, picture in enumerate(pictures(shown)):
        np.testing.assert_array_equal(pixels(picture.image), shown.slices[number])
        assert (picture.width, picture.height) == (32, 24)
        assert picture.index == shown.indices[number]


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_outline_encloses_the_area_of_its_mask(side: str) -> None:
    shown = preview(1)
    outline = getattr(pictures(shown)[0], side)
    corners = np.array([[float(n) for n in pair.split()] for pair in re.findall(r"[\d.]+ [\d.]+", outline)])
    x, y = corners.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2  # shoelace formula
    mask = shown.lung_mask[0] == (1 if side == "right" else 2)
    assert area == pytest.approx(mask.sum(), rel=0.06)
    rows, columns = np.nonzero(mask)
    np.testing.assert_allclose([x.min(), x.max()], [columns.min(), columns.max() + 1], atol=0.8)
    np.testing.assert_allclose([y.min(), y.max()], [rows.min(), rows.max() + 1], atol=0.8)


def test_opacity_follows_the_weights_over_the_whole_scan() -> None:
    weights = np.zeros((2, 7, 7), np.float32)
    weights[0, 2, 3], weights[1, 5, 1] = 1.0, 0.5
    shown = preview(2)
    first, second = (pixels(p.weights) for p in pictures(Preview(shown.slices, shown.lung_mask, weights, (0, 1))))
    assert first.shape == (7, 7, 4)
    assert first[2, 3, 3] == 100
    assert second[5, 1, 3] == 50
    assert first[..., 3].sum() == 100


def test_empty_masks_and_missing_weights_leave_no_trace() -> None:
    shown = preview(1, weights=False)
    picture = pictures(Preview(shown.slices, np.zeros_like(shown.lung_mask), None, (0,)))[0]
    assert picture.right == picture.left == picture.weights == ""


@pytest.mark.parametrize(
    ("limit", "indices"), [(1, [12]), (3, [10, 12, 14]), (None, [*range(10, 15)]), (9, [*range(10, 15)])]
)
def test_a_limit_spreads_the_slices(limit: int | None, indices: list[int]) -> None:
    found = [picture.index for picture in pictures(preview(5), limit=limit)]
    assert found == indices


def test_a_thumbnail_keeps_the_form_and_is_small() -> None:
    uri = thumbnail(preview(), size=64)
    assert pixels(uri).shape[:2] == (48, 64)
    assert len(uri) < 3000


def test_large_slices_are_kept_small() -> None:
    grey = np.tile(np.linspace(0, 255, 600).astype(np.uint8), (300, 1))
    uri = slice_uri(grey)
    assert uri.startswith("data:image/jpeg")
    assert pixels(uri).shape == (128, 256)
    assert pixels(slice_uri(grey, widest=400)).shape == (200, 400)
    np.testing.assert_array_equal(pixels(slice_uri(grey[:100, :256])), grey[:100, :256])
    large = replace(preview(1, weights=False), slices=grey[None], lung_mask=np.zeros_like(grey)[None])
    (picture,) = pictures(replace(large, cam=np.ones((1, 2, 2), np.float32)))
    assert (picture.width, picture.height) == (600, 300)  # outlines and boxes stay in pixels of the slice
    assert pixels(picture.cam).shape == (128, 256, 4)


def test_grad_cam_is_transparent_where_cold_and_keeps_its_scale() -> None:
    shown = preview(2, weights=False)
    cam = np.zeros((2, 2, 2), np.float32)
    cam[0, 0, 0], cam[1] = 0.5, 2.0  # above the largest value on training scans: drawn as that
    first, second = (pixels(picture.cam) for picture in pictures(replace(shown, cam=cam, cam_class="covid")))
    assert first.shape == (24, 32, 4)
    assert first[0, 0].tolist() == [128, 255, 128, round(255 * 0.6 * 0.5)]  # green in BGRA, half of the full opacity
    assert not first[18:, :, 3].any()  # from the centre of the lower cells on
    assert (second == [0, 0, 255, 153]).all()
    assert pictures(shown)[0].cam == ""
