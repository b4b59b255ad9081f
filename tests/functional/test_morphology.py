"""Morphology against scipy and scikit-image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from covidct.functional import morphology, parallel


def _blobs(shape: tuple[int, ...], level: float = 0.55, seed: int = 0) -> NDArray[np.uint8]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.2)
    return np.asarray(noise > np.quantile(noise, level), np.uint8)


@pytest.mark.parametrize("diagonal", [False, True])
def test_labels_by_size(diagonal: bool) -> None:
    mask = _blobs((20, 30, 25), 0.8)
    labels, sizes = morphology.label_volume(mask, least=5, diagonal=diagonal)
    other, count = ndimage.label(mask, ndimage.generate_binary_structure(3, 3 if diagonal else 1))
    expected = sorted((n for n in np.bincount(other.ravel())[1:].tolist() if n >= 5), reverse=True)
    assert count >= len(expected)
    assert sizes[1:].tolist() == expected
    np.testing.assert_array_equal(np.bincount(labels.ravel(), minlength=len(sizes))[1:], sizes[1:])


def test_no_component() -> None:
    labels, sizes = morphology.label_volume(np.zeros((3, 4, 5), np.uint8))
    assert sizes.tolist() == [0]
    assert not labels.any()


def test_enclosed_holes() -> None:
    mask = _blobs((16, 18, 20), 0.35)
    np.testing.assert_array_equal(morphology.enclosed(mask), ndimage.binary_fill_holes(mask) & (mask == 0))


def test_outside_air() -> None:
    air = _blobs((40, 50), 0.4)
    padded = np.pad(air, 1, constant_values=1)
    labels, _ = ndimage.label(padded)
    np.testing.assert_array_equal(morphology.outside_air(air), (labels == labels[0, 0])[1:-1, 1:-1])


@pytest.mark.parametrize("radius", [(1, 1), (4, 4), (3, 6), (0, 2)])
def test_closing_equals_scipy_with_the_same_octagon(radius: tuple[int, int]) -> None:
    mask = _blobs((40, 50), 0.8)
    crosses = int(min(radius) * (2 - 2**0.5) + 0.5)
    element = np.zeros((2 * radius[0] + 1, 2 * radius[1] + 1), bool)
    box = (slice(crosses, 2 * radius[0] + 1 - crosses), slice(crosses, 2 * radius[1] + 1 - crosses))
    element[box] = True
    if crosses:
        element = ndimage.binary_dilation(element, ndimage.generate_binary_structure(2, 1), crosses)
    wide = np.pad(mask, 10)
    expected = ndimage.binary_closing(wide, element)[10:-10, 10:-10]
    np.testing.assert_array_equal(morphology.close_slice(mask, radius) > 0, expected)


def test_small_holes_only() -> None:
    mask = np.ones((30, 30), np.uint8)
    mask[3:5, 3:5] = 0
    mask[10:25, 10:25] = 0
    filled = morphology.fill_small_holes(mask.copy(), 60)
    assert filled[3:5, 3:5].all()
    assert not filled[11:24, 11:24].any()
    assert not morphology.fill_small_holes(np.zeros((5, 5), np.uint8), 60).any()


def test_disc_in_millimetres() -> None:
    assert morphology.disc(10, (2.5, 5.0)).shape == (9, 5)
    assert morphology.disc(0.1, (1.0, 1.0)).tolist() == [[1]]
    area = morphology.disc(20, (1.0, 1.0)).sum()
    assert area == pytest.approx(np.pi * 20.5**2, rel=0.02)


def test_erosion() -> None:
    mask = _blobs((12, 14, 16), 0.2)
    np.testing.assert_array_equal(morphology.erode_cross(mask) > 0, ndimage.binary_erosion(mask))


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_growing(steps: int) -> None:
    mask = (_blobs((24, 40, 30), 0.99) * 2).astype(np.uint8)
    mask[5:14] = 0
    expected = ndimage.distance_transform_cdt(mask == 0, "taxicab") <= steps
    morphology.grow_city_block(mask, steps)
    np.testing.assert_array_equal(mask, expected)


def test_an_empty_mask_does_not_grow() -> None:
    mask = np.zeros((4, 5, 6), np.uint8)
    morphology.grow_city_block(mask, 20)
    assert not mask.any()


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_cover_everything_once_and_errors_come_through(threads: int) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        seen = np.zeros(23, int)

        def work(part: slice) -> None:
            seen[part] += 1

        parallel.over_blocks(work, 23, 5)
        assert (seen == 1).all()
        with pytest.raises(ZeroDivisionError):
            parallel.over_blocks(lambda part: print(1 // (part.start - 5)), 23, 5)
    finally:
        cv2.setNumThreads(before)
