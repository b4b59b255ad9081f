"""``PixelMoments`` against numpy on everything at once, however the slices come in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from covidct.curation import PixelMoments
from covidct.curation.moments import resize_slices
from covidct.errors import InputError, UsageError


@pytest.mark.parametrize("sizes", [[1] * 57, [57], [1, 16, 17, 23], [0, 40, 0, 17]])
def test_mean_and_deviation_are_numpys(sizes: list[int]) -> None:
    rng = np.random.default_rng(len(sizes))
    slices = (1000 + rng.normal(0, 1e-3, (57, 9, 9))).astype(np.float32)  # a sum of squares would lose all digits
    slices[:, :4] = rng.random((57, 4, 9), dtype=np.float32)
    moments = PixelMoments(9)
    start = 0
    for size in sizes:
        moments.update(slices[start : start + size])
        start += size
    assert moments.count == 57
    wanted = slices.astype(np.float64)
    np.testing.assert_allclose(moments.mean, wanted.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.std, wanted.std(0), rtol=1e-9, atol=1e-15)


def test_without_slices_nothing_is_known() -> None:
    moments = PixelMoments(3)
    assert np.isnan(moments.mean).all()
    assert np.isnan(moments.std).all()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="3 x 3"):
        PixelMoments(3).update(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(UsageError, match="at least one pixel"):
        PixelMoments(0)


def test_slices_shrink_by_areas_and_grow_by_interpolation() -> None:
    stack = np.random.default_rng(0).random((2, 12, 6), dtype=np.float32)
    np.testing.assert_allclose(
        resize_slices(stack, 3), stack.reshape(2, 3, 4, 3, 2).mean((2, 4)), rtol=1e-5
    )  # whole blocks: their mean
    grown = resize_slices(stack, 24)
    np.testing.assert_array_equal(grown[1], cv2.resize(stack[1], (24, 24), interpolation=cv2.INTER_LINEAR))
    assert resize_slices(stack[:, :6], 6) is not None
    np.testing.assert_array_equal(resize_slices(stack[:, :6], 6), stack[:, :6])
