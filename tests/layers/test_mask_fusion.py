"""The fused first convolution against two separate ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from covidct.layers import MaskFusion


@pytest.fixture
def layer() -> MaskFusion:
    torch.manual_seed(0)
    return MaskFusion(nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False))


def test_is_the_sum_of_two_convolutions(layer: MaskFusion) -> None:
    image, mask = torch.randn(2, 3, 33, 40), (torch.rand(2, 1, 33, 40) > 0.5).to(torch.uint8)
    expected = layer.conv_image(image) + layer.conv_mask(mask.float())
    torch.testing.assert_close(layer(image, mask), expected, rtol=1e-4, atol=1e-5)


def test_empty_mask_is_the_plain_convolution(layer: MaskFusion) -> None:
    image = torch.randn(2, 3, 32, 32)
    found = layer(image, torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    torch.testing.assert_close(found, layer.conv_image(image), rtol=1e-4, atol=1e-5)


def test_linear_in_the_mask(layer: MaskFusion) -> None:
    nothing = torch.zeros(1, 3, 32, 32)
    one, two = torch.rand(2, 1, 1, 32, 32)
    torch.testing.assert_close(
        layer(nothing, 2 * one - 3 * two), 2 * layer(nothing, one) - 3 * layer(nothing, two), rtol=1e-4, atol=1e-4
    )


def test_both_convolutions_learn(layer: MaskFusion) -> None:
    image, mask = torch.randn(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    target = torch.randn(1, 64, 8, 8)
    torch.autograd.backward((layer(image, mask) * target).sum())
    found = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    layer.zero_grad()
    torch.autograd.backward(((layer.conv_image(image) + layer.conv_mask(mask)) * target).sum())
    for grad, parameter in zip(found, layer.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad, rtol=1e-4, atol=1e-4)


def test_mask_filters_are_new_and_of_kaimings_size(layer: MaskFusion) -> None:
    std = (2 / (64 * 49)) ** 0.5  # He et al. 2015, fan out
    assert float(layer.conv_mask.weight.detach().std()) == pytest.approx(std, rel=0.05)
    assert sum(p.numel() for p in layer.conv_mask.parameters()) == 64 * 49
