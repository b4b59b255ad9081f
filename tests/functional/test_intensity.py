"""Windowing and tone mapping: closed form, both array kinds, bad windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covidct.errors import UsageError
from covidct.functional import tone_map, window_hu

if TYPE_CHECKING:
    from collections.abc import Callable


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


# Equation 5 of the ResNeXt+ document, worked out by hand
TONES = {0: 0.5, 1: 0.5866, 10: 0.8354, 50: 0.99142, 100: 0.99947, 255: 0.9999992}


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_tone_map_is_the_equation(kind: Callable[..., Any]) -> None:
    grey = kind(np.array(list(TONES), dtype=np.float32) / 255)
    np.testing.assert_allclose(np.asarray(tone_map(grey, rescale=False)), list(TONES.values()), atol=5e-5)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_tone_map_fills_the_unit_interval(kind: Callable[..., Any]) -> None:
    unit = np.linspace(0, 1, 256, dtype=np.float32)
    toned = np.asarray(tone_map(kind(unit)))
    assert (toned[0], toned[-1]) == (0.0, pytest.approx(1.0, abs=1e-7))
    assert (np.diff(toned) >= 0).all()
    raw = np.asarray(tone_map(kind(unit), rescale=False), dtype=np.float64)
    np.testing.assert_allclose(toned, (raw - 0.5) / (raw[-1] - 0.5), atol=1e-6)


def test_tone_map_refuses_a_flat_curve() -> None:
    with pytest.raises(UsageError, match="must be positive"):
        tone_map(np.zeros(3), gamma=0.0)
