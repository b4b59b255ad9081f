"""Noise with the texture of a reconstruction kernel."""

from __future__ import annotations

import numpy as np
import pytest

from covidct.phantom import simulate_ct
from covidct.phantom.noise import KERNELS, KernelNoise

from .conftest import SMALL, phantom


def autocorrelation(noise: np.ndarray, lag: int, axis: int) -> float:
    """Correlation of a field with itself, shifted round."""
    return float((noise * np.roll(noise, lag, axis)).mean() / noise.var())


@pytest.mark.parametrize("kernel", KERNELS)
def test_unit_variance_and_coloured(kernel: str) -> None:
    noise = KernelNoise(np.random.default_rng(0), (96, 112), kernel).take(24)
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    in_plane = [autocorrelation(noise, lag, 2) for lag in range(1, 8)]
    assert in_plane[0] > 0.2, "neighbours are alike, unlike in white noise"
    assert min(in_plane) < -0.02, "the ramp filter leaves a dip below zero"
    # slices overlap by one: w / (1 + w^2) with w = 0.5
    assert autocorrelation(noise[1:-1], 1, 0) == pytest.approx(0.4, abs=0.06)


def test_softer_kernel_has_longer_correlation() -> None:
    first = {
        kernel: autocorrelation(KernelNoise(np.random.default_rng(1), (64, 64), kernel).take(8), 1, 1)
        for kernel in KERNELS
    }
    assert first["soft"] > first["sharp"] + 0.2


def test_slices_do_not_depend_on_how_they_are_taken() -> None:
    whole = KernelNoise(np.random.default_rng(3), (16, 17), "sharp").take(9)
    source = KernelNoise(np.random.default_rng(3), (16, 17), "sharp")
    np.testing.assert_array_equal(np.concatenate([source.take(2), source.take(4), source.take(3)]), whole)


def test_amplitude_in_soft_tissue() -> None:
    clean = phantom(0).volume.array.astype(float)
    noisy = simulate_ct(0, shape=SMALL, noise_hu=30).volume.array.astype(float)
    tissue = (clean > 20) & (clean < 80)
    assert (noisy - clean)[tissue].std() == pytest.approx(30, rel=0.05)
    air = (clean > -900) & (clean < -800)
    assert (noisy - clean)[air].std() < 27, "less noise where little is absorbed"
