"""Alignment finds the crop that was made, copies correlate, other patients and flat pictures do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from covidct.curation.confirm import align, common_size, resemblance
from covidct.functional import window_hu
from covidct.phantom import simulate_ct


def chest(seed: int, size: int = 160) -> np.ndarray:
    """The middle slice of a phantom patient, (size, size) uint8."""
    volume = simulate_ct(seed, shape=(12, size, size)).volume
    return np.asarray(np.rint(255 * window_hu(volume.array[6], -1250, 250)), np.uint8)


@pytest.fixture(scope="module")
def patients() -> list[np.ndarray]:
    return [chest(seed) for seed in range(4)]


def test_the_same_picture(patients: list[np.ndarray]) -> None:
    found = align(patients[0], patients[0])
    assert found is not None
    assert found.details == pytest.approx(1, abs=1e-3)
    assert found.overall == pytest.approx(1, abs=1e-3)
    assert np.allclose(found.scale, 1, atol=1e-3)
    assert np.allclose(found.shift, 0, atol=1e-3)


def test_scale_and_shift_are_those_of_the_crop(patients: list[np.ndarray]) -> None:
    picture = patients[0]
    crop = picture[8:, 2:154]  # 8 of 160 rows above; 2 and 6 of 160 columns at the sides
    found = align(crop, picture)
    assert found is not None
    assert np.allclose(found.scale, (152 / 160, 152 / 160), atol=0.004)
    # a pixel centre u of the crop, in shares of its side, lies at (8 + 152 u) / 160 of the picture
    assert np.allclose(found.shift, (8 / 160, 2 / 160), atol=0.004)
    assert found.details > 0.9
    back = align(picture, crop)
    assert back is not None
    assert np.allclose(back.scale, 160 / 152, atol=0.004)


@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_rescaled_compressed_and_brighter_copies(patients: list[np.ndarray], factor: float) -> None:
    for picture in patients:
        copy = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        again = cv2.imdecode(cv2.imencode(".jpg", copy // 2 + 60, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)
        found = align(picture, np.asarray(again))
        assert found is not None
        assert min(found.details, found.overall) > 0.9


@pytest.mark.parametrize("crop", [(8, 0, 0, 8), (0, 8, 8, 0), (4, 4, 4, 4), (8, 0, 4, 4), (0, 8, 0, 8)])
def test_crops_resemble_their_picture_before_anything_is_aligned(
    patients: list[np.ndarray], crop: tuple[int, ...]
) -> None:
    """8 of 160 rows and columns are off, above and below, left and right."""
    top, bottom, left, right = crop
    for picture in patients:
        copy = picture[top : 160 - bottom, left : 160 - right]
        assert min(resemblance(picture, copy), resemblance(copy, picture)) > 0.78
        assert resemblance(copy, np.rot90(picture)) < 0.4
    assert resemblance(patients[0], patients[0]) == pytest.approx(1)
    assert resemblance(patients[0], np.full((64, 64), 7, np.uint8)) == 0


def test_other_patients_do_not_fit(patients: list[np.ndarray]) -> None:
    for i, one in enumerate(patients):
        for other in patients[i + 1 :]:
            found = align(one, other)
            assert found is None or found.details < 0.97  # of copies: above 0.99


def test_what_is_turned_flat_or_noise_does_not_fit(patients: list[np.ndarray]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160), dtype=np.uint8)
    for other in (np.rot90(patients[0]), np.zeros((90, 70), np.uint8), noise):
        found = align(patients[0], np.ascontiguousarray(other))
        assert found is None or found.details < 0.5
    assert align(np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)) is None


def test_small_and_oblong_pictures() -> None:
    picture = chest(1)
    small = common_size(picture, 40)
    assert small.shape == (40, 40)
    assert common_size(small, 40) is small
    assert common_size(small[:20], 64).shape == (64, 64)
    found = align(cv2.resize(picture, (60, 45), interpolation=cv2.INTER_AREA), picture)
    assert found is not None
    assert found.details > 0.85
