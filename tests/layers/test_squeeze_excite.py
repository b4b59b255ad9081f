"""Squeeze and excitation against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.layers import SqueezeExcite


def test_agrees_with_numpy() -> None:
    torch.manual_seed(0)
    layer = SqueezeExcite(8, reduction=4).double()
    maps = torch.randn(3, 8, 5, 7, dtype=torch.float64)
    first, second = (p.detach().numpy() for p in (layer.squeeze.weight, layer.excite.weight))
    for found, stack in zip(layer(maps).detach().numpy(), maps.numpy(), strict=True):
        hidden = np.maximum(first @ stack.mean((1, 2)), 0)
        weights = 1 / (1 + np.exp(-(second @ hidden)))
        np.testing.assert_allclose(found, weights[:, None, None] * stack, rtol=1e-12)


@pytest.mark.parametrize(("channels", "reduction"), [(64, 16), (256, 16), (2048, 16), (64, 4)])
def test_parameter_count(channels: int, reduction: int) -> None:
    layer = SqueezeExcite(channels, reduction=reduction)
    assert sum(p.numel() for p in layer.parameters()) == 2 * channels**2 // reduction


def test_zero_weights_halve() -> None:
    layer = SqueezeExcite(32)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    maps = torch.randn(2, 32, 5, 6)
    torch.testing.assert_close(layer(maps), 0.5 * maps)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(1)
    layer = SqueezeExcite(4, reduction=2).double()
    assert torch.autograd.gradcheck(layer, torch.randn(2, 4, 4, 3, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize(("channels", "reduction"), [(64, 3), (8, 16), (64, 0)])
def test_wrong_sizes_are_refused(channels: int, reduction: int) -> None:
    with pytest.raises(UsageError, match="must divide"):
        SqueezeExcite(channels, reduction=reduction)
