"""Cleaning of lung masks against a flood fill written by hand and scipy's labels, one part after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from covidct.errors import InputError, UsageError
from covidct.functional import clean_lung_mask, lung_area_share


def brute_force(mask: NDArray[Any], smallest_object: float, smallest_hole: float) -> NDArray[np.uint8]:
    """Every part by itself."""
    out = np.zeros(mask.shape, np.uint8)
    labels, count = ndimage.label(mask)
    for part in range(1, count + 1):
        if np.sum(labels == part) >= smallest_object * mask.size:
            out[labels == part] = 1
    labels, count = ndimage.label(out == 0)
    for part in range(1, count + 1):
        rows, columns = np.nonzero(labels == part)
        inside = (
            0 < rows.min() <= rows.max() < mask.shape[0] - 1 and 0 < columns.min() <= columns.max() < mask.shape[1] - 1
        )
        if inside and len(rows) < smallest_hole * mask.size:
            out[labels == part] = 1
    return out


def noise(seed: int, shape: tuple[int, int], blur: float) -> NDArray[np.bool_]:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), blur)
    return np.asarray(field > np.quantile(field, 0.5))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    blur=st.floats(0, 3),
    smallest_object=st.floats(0, 0.2),
    smallest_hole=st.floats(0, 0.2),
)
def test_is_brute_force_and_idempotent(
    seed: int, height: int, width: int, blur: float, smallest_object: float, smallest_hole: float
) -> None:
    mask = noise(seed, (height, width), blur)
    sizes = {"smallest_object": smallest_object, "smallest_hole": smallest_hole}
    found = clean_lung_mask(mask, **sizes)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, brute_force(mask, smallest_object, smallest_hole))
    np.testing.assert_array_equal(clean_lung_mask(found, **sizes), found)


def test_shares_are_of_the_image() -> None:
    """1311 px is the first size of 256 x 256 that is not below 2 %, 656 px that of a hole that stays."""
    mask = np.zeros((256, 256), np.uint8)
    mask[10:240, 100:240] = 1
    hole = mask.copy()
    for size, stays in ((1310, False), (1311, True)):
        part = mask.copy()
        part[10 : 10 + size // 23, 10:33] = 1
        part[10 + size // 23, 10 : 10 + size % 23] = 1
        assert bool(clean_lung_mask(part)[:, :60].any()) is stays
    for size, stays in ((655, False), (656, True)):
        part = hole.copy()
        part[50 : 50 + size // 16, 150:166] = 0
        part[50 + size // 16, 150 : 150 + size % 16] = 0
        assert bool((clean_lung_mask(part)[40:100, 140:180] == 0).any()) is stays


def test_a_speck_inside_a_hole_does_not_part_it() -> None:
    mask = np.ones((100, 100), np.uint8)
    mask[40:45, 40:45] = 0
    mask[42, 42] = 1
    assert clean_lung_mask(mask).all()


def test_a_notch_at_the_border_is_no_hole() -> None:
    mask = np.ones((100, 100), bool)
    mask[0, 40:45] = False
    np.testing.assert_array_equal(clean_lung_mask(mask), mask)


def test_both_sides_are_one() -> None:
    mask = np.zeros((50, 50), np.uint8)
    mask[10:40, 10:25], mask[10:40, 25:40] = 1, 2
    np.testing.assert_array_equal(clean_lung_mask(mask), mask > 0)
    assert lung_area_share(mask) == pytest.approx(900 / 2500)
    assert lung_area_share(np.zeros((3, 4), bool)) == 0


@pytest.mark.parametrize("mask", [np.zeros((2, 3, 4), bool), np.zeros((4, 4)), np.zeros((0, 4), np.uint8)])
def test_what_is_no_mask_is_refused(mask: NDArray[Any]) -> None:
    with pytest.raises(InputError, match="no mask"):
        clean_lung_mask(mask)
    with pytest.raises(InputError, match="no mask"):
        lung_area_share(mask)


@pytest.mark.parametrize("name", ["smallest_object", "smallest_hole"])
@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_out_of_range_are_refused(name: str, share: float) -> None:
    with pytest.raises(UsageError, match=name):
        clean_lung_mask(np.zeros((4, 4), bool), **{name: share})


@pytest.mark.real
def test_masks_drawn_by_hand_are_left_as_they_are(real_data: Path) -> None:
    """The sizes suit lungs: no drawn lung is taken for a small part."""
    files = [
        *(real_data / "cxr_lung_masks" / "masks").glob("*.png"),
        *(real_data / "cxr_imlab_lung2d").glob("*-mask.png"),
    ]
    assert files
    for file in files:
        drawn = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert drawn is not None
        inside = drawn > 127
        cleaned = clean_lung_mask(inside) > 0
        overlap = 2 * np.sum(cleaned & inside) / (cleaned.sum() + inside.sum())
        assert overlap > 0.99, file.name
        assert 0.15 < lung_area_share(cleaned) < 0.7
