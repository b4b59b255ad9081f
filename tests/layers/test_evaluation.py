"""Evaluation mode for a while."""

from __future__ import annotations

import pytest
from torch import nn

from covidct.layers import evaluation


def test_every_part_gets_its_own_mode_back() -> None:
    inner = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    network = nn.Sequential(nn.Dropout(), inner)
    inner.eval()
    inner[1].train()
    modes = [part.training for part in network.modules()]
    with evaluation(network):
        assert not any(part.training for part in network.modules())
    assert [part.training for part in network.modules()] == modes


def test_after_an_error_too() -> None:
    network = nn.Dropout()
    with pytest.raises(ValueError, match="x"), evaluation(network):
        raise ValueError("x")
    assert network.training
