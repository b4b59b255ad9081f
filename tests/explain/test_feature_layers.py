from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torchvision import models as tv

from covidct.errors import UsageError
from covidct.explain.feature_layers import spread_layers

if TYPE_CHECKING:
    from torch import Tensor


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        (
            "densenet121",
            ["features.denseblock1", "features.denseblock2", "features.denseblock3", "features"],
        ),
        ("efficientnet_b0", ["features.2", "features.3", "features.5", "features"]),
    ],
)
def test_the_stages_of_known_networks(name: str, expected: list[str]) -> None:
    network = tv.get_model(name, weights=None)
    network.train()
    network.features_done = 0
    image = torch.rand(1, 3, 96, 64)
    assert spread_layers(network, lambda: network(image), size=(96, 64)) == expected
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


class Flat(nn.Module):
    """Six convolutions of one size, then maps with the channels last, which are none."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(6))
        self.last = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        for conv in self.convs:
            image = conv(image)
        last: Tensor = self.last(image.permute(0, 2, 3, 1))
        return last.mean((1, 2))


def test_a_network_of_one_size() -> None:
    network, image = Flat(), torch.rand(1, 3, 40, 40)
    found = spread_layers(network, lambda: network(image), size=(40, 40))
    assert found == [f"convs.{number}" for number in (0, 2, 3, 5)]
    short = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.LazyLinear(2))
    assert spread_layers(short, lambda: short(torch.rand(1, 1, 9, 9)), size=(9, 9)) == ["0"]


def test_a_network_without_maps() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(UsageError, match="no submodule that gives feature maps"):
        spread_layers(network, lambda: network(torch.rand(1, 1, 8, 8)), size=(8, 8))
