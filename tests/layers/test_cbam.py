"""CBAM against plain numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.layers import CBAM

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def convolved(maps: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, H, W) with (K, k, k), zero padding, pixel by pixel."""
    reach = kernel.shape[-1] // 2
    padded = np.pad(maps, ((0, 0), (reach, reach), (reach, reach)))
    out = np.empty(maps.shape[1:])
    for i, j in np.ndindex(*out.shape):
        out[i, j] = (padded[:, i : i + 2 * reach + 1, j : j + 2 * reach + 1] * kernel).sum()
    return out


def reference(layer: CBAM, maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equations 6 to 11 with ReLU, for one (C, H, W) stack."""
    value = {name: tensor.detach().double().numpy() for name, tensor in layer.state_dict().items()}
    in_bias, out_bias = value.get("squeeze.bias", 0.0), value.get("excite.bias", 0.0)
    total = np.zeros(len(maps))
    for pooled in (maps.mean((1, 2)), maps.max((1, 2))):
        hidden = np.maximum(value["squeeze.weight"] @ pooled + in_bias, 0)
        total += value["excite.weight"] @ hidden + out_bias
    channel = sigmoid(total)[:, None, None] * maps
    pair = [channel.mean(0), channel.max(0)]
    if layer.order == "max_mean":
        pair = pair[::-1]
    logits = convolved(np.stack(pair), value["spatial.weight"][0]) + value.get("spatial.bias", 0.0)
    return sigmoid(logits) * channel


@pytest.mark.parametrize(
    "options",
    [{}, {"order": "max_mean", "kernel_size": 7}, {"mlp_bias": False, "spatial_bias": True, "kernel_size": 3}],
)
def test_agrees_with_numpy(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = CBAM(8, reduction=4, **options).double()
    maps = torch.randn(3, 8, 11, 7, dtype=torch.float64)
    found = layer(maps).detach().numpy()
    for one, stack in zip(found, maps.numpy(), strict=True):
        np.testing.assert_allclose(one, reference(layer, stack), rtol=1e-10, atol=1e-12)


def test_zero_weights_leave_a_quarter() -> None:
    layer = CBAM(64)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    maps = torch.randn(2, 64, 5, 6)
    torch.testing.assert_close(layer(maps), 0.25 * maps)


def test_parameter_count_of_the_document() -> None:
    counts = {name: parameter.numel() for name, parameter in CBAM(64).named_parameters()}
    assert sum(n for name, n in counts.items() if not name.startswith("spatial")) == 580
    assert counts["spatial.weight"] == 162
    assert sum(counts.values()) == 742
    assert sum(p.numel() for p in CBAM(64, mlp_bias=False).parameters()) == 512 + 162


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(1)
    layer = CBAM(4, reduction=2, kernel_size=3).double()
    assert torch.autograd.gradcheck(layer, torch.randn(2, 4, 4, 3, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("wrong", [{"reduction": 3}, {"reduction": 128}, {"kernel_size": 4}, {"order": "avg"}])
def test_wrong_sizes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        CBAM(64, **wrong)
