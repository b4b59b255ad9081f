"""Largest part per lung and filled holes, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from covidct.errors import InputError
from covidct.functional import keep_lungs


def brute_force(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same on the whole grid, part by part."""
    parts = {}
    for side in (1, 2):
        labels, count = ndimage.label(mask == side)
        sizes = ndimage.sum_labels(mask == side, labels, range(1, count + 1))
        parts[side] = labels == 1 + int(np.argmax(sizes)) if count else np.zeros(mask.shape, bool)
    out = np.zeros_like(mask)
    for side in (1, 2):
        out[ndimage.binary_fill_holes(parts[side])] = side
    for side in (1, 2):
        out[parts[side]] = side
    return out


def two_boxes() -> NDArray[np.uint8]:
    mask = np.zeros((12, 14, 20), np.uint8)
    mask[2:10, 2:12, 2:8] = 1
    mask[2:10, 2:12, 12:18] = 2
    return mask


def test_islands_go_and_holes_are_filled() -> None:
    clean = two_boxes()
    mask = clean.copy()
    mask[4:6, 5:7, 4:6] = 0  # a hole
    mask[7, 7, 5] = 2  # an island of the other side within: becomes the lung around it
    mask[0, 0, 0] = mask[5, 5, 10] = 1  # islands outside
    mask[11, 13, 19] = 2
    found = keep_lungs(mask)
    np.testing.assert_array_equal(found, clean)
    assert found.dtype == np.uint8
    assert mask[0, 0, 0] == 1  # the input is left as it was


def test_a_cavity_open_to_the_border_is_no_hole() -> None:
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[0:4, 1:5, 1:5] = 1
    mask[0:2, 2:4, 2:4] = 0  # open at the lowest slice, which is the border of the volume
    np.testing.assert_array_equal(keep_lungs(mask), mask)


@pytest.mark.parametrize("seed", range(8))
def test_equals_scipy_on_random_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(14, 18, 22)), 1.2)
    mask = np.digitize(field, [-0.03, 0.08]).astype(np.uint8)  # both sides in many parts, with holes
    mask[field > 0.3] = 0
    sizes = [np.unique(ndimage.label(mask == side)[0], return_counts=True)[1][1:] for side in (1, 2)]
    assert all((size == size.max()).sum() == 1 for size in sizes)  # else the choice is open
    np.testing.assert_array_equal(keep_lungs(mask), brute_force(mask))


def test_an_absent_lung_stays_absent() -> None:
    mask = two_boxes()
    mask[mask == 2] = 0
    np.testing.assert_array_equal(keep_lungs(mask), mask)
    assert not keep_lungs(np.zeros((3, 4, 5), np.uint8)).any()


@pytest.mark.parametrize("mask", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4)), np.full((4, 4, 4), 3, np.uint8)])
def test_other_arrays_are_refused(mask: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="keep_lungs needs"):
        keep_lungs(mask)
