"""Recomputed blocks: the same output, gradients and statistics as without."""

from __future__ import annotations

import copy

import torch
from torch import nn

from covidct.layers import recompute


def test_outputs_gradients_and_statistics_are_those_of_the_plain_block() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    frugal = copy.deepcopy(plain)
    x = torch.randn(4, 2, 8, 8)
    for _ in range(2):
        expected, found = plain(x), recompute(frugal, x)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        torch.autograd.backward(expected.square().sum())
        torch.autograd.backward(found.square().sum())
    expected_grads = [p.grad for p in plain.parameters()]
    torch.testing.assert_close([p.grad for p in frugal.parameters()], expected_grads, rtol=0, atol=0)
    torch.testing.assert_close(list(frugal.buffers()), list(plain.buffers()), rtol=0, atol=0)
