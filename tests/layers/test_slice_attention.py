"""Slice attention: closed forms and invariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.errors import BatchError
from covidct.layers import SliceAttention


@pytest.fixture
def layer() -> SliceAttention:
    torch.manual_seed(0)
    return SliceAttention(6, width=5)


def test_agrees_with_equations_18_and_19(layer: SliceAttention) -> None:
    f = torch.randn(1, 7, 6)
    pooled, alpha = layer(f)
    b, w = (p.detach().double().numpy() for p in layer.parameters())
    e = np.array([w[0] @ np.tanh(b @ row) for row in f[0].double().numpy()])
    expected = np.exp(e) / np.exp(e).sum()
    np.testing.assert_allclose(alpha[0].detach().numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(
        pooled[0].detach().numpy(), sum(a * row for a, row in zip(expected, f[0].numpy(), strict=True)), atol=1e-6
    )
    assert float(alpha.detach().sum()) == pytest.approx(1)


def test_equal_slices_share_equally(layer: SliceAttention) -> None:
    _, alpha = layer(torch.randn(1, 1, 6).expand(2, 9, 6))
    torch.testing.assert_close(alpha, torch.full((2, 9), 1 / 9))


def test_one_slice_is_the_result(layer: SliceAttention) -> None:
    f = torch.randn(3, 1, 6)
    pooled, alpha = layer(f)
    assert alpha.tolist() == [[1.0]] * 3
    assert pooled.equal(f[:, 0])


def test_order_of_the_slices_does_not_matter(layer: SliceAttention) -> None:
    f, order = torch.randn(2, 8, 6), torch.randperm(8)
    pooled, alpha = layer(f)
    turned, beta = layer(f[:, order])
    torch.testing.assert_close(turned, pooled)
    torch.testing.assert_close(beta, alpha[:, order])


def test_zero_scores_give_the_mean(layer: SliceAttention) -> None:
    torch.nn.init.zeros_(layer.score.weight)
    f = torch.randn(2, 5, 6)
    torch.testing.assert_close(layer(f)[0], f.mean(1))


def test_a_shift_of_the_scores_does_not_matter(layer: SliceAttention) -> None:
    f = torch.randn(1, 4, 6)
    _, alpha = layer(f)
    layer.score.register_forward_hook(lambda _, __, scores: scores + 50.0)
    torch.testing.assert_close(layer(f)[1], alpha, rtol=1e-4, atol=1e-6)


def test_padding_counts_nothing(layer: SliceAttention) -> None:
    f = torch.randn(2, 6, 6)
    mask = torch.tensor([[True] * 6, [False, True, True, True, False, False]])
    pooled, alpha = layer(f, mask)
    alone, share = layer(f[1:, 1:4])
    torch.testing.assert_close(pooled[1:], alone)
    torch.testing.assert_close(alpha[1:, 1:4], share)
    assert alpha[1, [0, 4, 5]].tolist() == [0.0, 0.0, 0.0]


def test_float32_under_autocast(layer: SliceAttention) -> None:
    f = torch.randn(1, 300, 6)
    with torch.autocast("cpu", torch.bfloat16):
        pooled, alpha = layer(f.bfloat16())
    assert pooled.dtype == alpha.dtype == torch.float32
    torch.testing.assert_close(alpha, layer(f.bfloat16().float())[1])


def test_volume_without_slices_is_refused(layer: SliceAttention) -> None:
    with pytest.raises(BatchError, match="no real slice"):
        layer(torch.randn(1, 2, 6), torch.zeros(1, 2, dtype=torch.bool))
