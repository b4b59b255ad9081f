"""Windowing: closed form, both array kinds, bad windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covidct.errors import UsageError
from covidct.functional import window_hu


def test_window_of_known_values() -> None:
    hu = np.array([-3024, -1250, -500, 0, 250, 3000], np.int16)
    expected = [0.0, 0.0, 0.5, 1250 / 1500, 1.0, 1.0]
    np.testing.assert_allclose(window_hu(hu, -1250, 250), expected, atol=1e-7)
    torch.testing.assert_close(window_hu(torch.from_numpy(hu), -1250, 250), torch.tensor(expected))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_array_and_tensor_agree_bit_for_bit(dtype: type) -> None:
    hu: NDArray[Any] = np.random.default_rng(0).integers(-2000, 2000, (3, 4, 5)).astype(dtype)
    unit = window_hu(hu, -1000, 333)
    assert unit.dtype == np.float32
    tensor = window_hu(torch.from_numpy(hu), -1000, 333)
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(unit, tensor.numpy())


def test_input_is_left_alone() -> None:
    hu = np.array([1.0, 2.0], np.float32)
    window_hu(hu)
    np.testing.assert_array_equal(hu, [1.0, 2.0])


@pytest.mark.parametrize("window", [(0.0, 0.0), (5.0, -5.0), (float("nan"), 1.0)])
def test_empty_window_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="window"):
        window_hu(np.zeros(3), *window)
