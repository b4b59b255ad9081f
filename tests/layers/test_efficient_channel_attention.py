"""ECA against plain numpy, and its table of kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.layers import EfficientChannelAttention, adaptive_kernel_size

KERNELS = {16: 3, 32: 3, 64: 3, 128: 5, 256: 5, 512: 5, 1024: 5, 2048: 7}


@pytest.mark.parametrize(("channels", "size"), KERNELS.items())
def test_kernel_and_parameter_count(channels: int, size: int) -> None:
    assert adaptive_kernel_size(channels) == size
    assert sum(p.numel() for p in EfficientChannelAttention(channels).parameters()) == size


def test_kernels_are_odd_and_grow_with_the_channels() -> None:
    sizes = [adaptive_kernel_size(channels) for channels in range(1, 5000)]
    assert all(size % 2 for size in sizes)
    assert sizes == sorted(sizes)


def test_agrees_with_numpy() -> None:
    torch.manual_seed(0)
    layer = EfficientChannelAttention(16).double()
    maps = torch.randn(3, 16, 5, 7, dtype=torch.float64)
    kernel = layer.conv.weight.detach().numpy()[0, 0]
    for found, stack in zip(layer(maps).detach().numpy(), maps.numpy(), strict=True):
        padded = np.pad(stack.mean((1, 2)), 1)
        logits = np.array([(padded[c : c + 3] * kernel).sum() for c in range(16)])
        np.testing.assert_allclose(found, stack / (1 + np.exp(-logits))[:, None, None], rtol=1e-12)


def test_zero_weights_halve() -> None:
    layer = EfficientChannelAttention(32)
    torch.nn.init.zeros_(layer.conv.weight)
    maps = torch.randn(2, 32, 5, 6)
    torch.testing.assert_close(layer(maps), 0.5 * maps)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(1)
    layer = EfficientChannelAttention(16).double()
    assert torch.autograd.gradcheck(layer, torch.randn(1, 16, 2, 3, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("channels", [0, -4])
def test_no_channels_are_refused(channels: int) -> None:
    with pytest.raises(UsageError, match="channels"):
        EfficientChannelAttention(channels)
