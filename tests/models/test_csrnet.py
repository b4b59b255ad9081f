"""CSRNet against torchvision's VGG-16 and plain convolutions."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models as tv

from covidct.errors import BatchError, UsageError, WeightsError
from covidct.models import CSRNet

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

BACK = (512, 512, 512, 512, 256, 128, 64)  # channels before, between and after the dilated layers


def network() -> CSRNet:
    torch.manual_seed(0)
    return CSRNet().eval()


def images(count: int = 2, size: int = 32) -> Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def net() -> CSRNet:
    return network()


def vgg16_front(seed: int = 3) -> nn.Sequential:
    """The first ten convolutions of torchvision's network, without the 123 million parameters behind."""
    torch.manual_seed(seed)
    with torch.device("meta"):
        front = tv.vgg16(weights=None).features[:23]
    front.to_empty(device="cpu")
    for parameter in front.parameters():
        nn.init.normal_(parameter, std=0.05)
    assert isinstance(front, nn.Sequential)
    return front


def test_front_is_vgg16s_and_the_back_is_dilated(net: CSRNet) -> None:
    front = vgg16_front()
    front.load_state_dict(net.front.state_dict(), strict=True)
    with torch.no_grad():
        x = front((images() - net.mean) / net.std)
        assert x.shape == (2, 512, 4, 4)
        for conv in [part for part in net.back if isinstance(part, nn.Conv2d)]:
            x = F.relu(F.conv2d(x, conv.weight, conv.bias, padding=2, dilation=2))
        maps = net.feature_maps(images())
        torch.testing.assert_close(maps, x)
        torch.testing.assert_close(net(images()), x.mean((2, 3)))
        torch.testing.assert_close(net(images().expand(-1, 3, -1, -1)), net(images()))


def test_parameter_count_and_map_size() -> None:
    with torch.device("meta"):
        made = CSRNet()
        vgg = tv.vgg16(weights=None).features[:23]
        assert made.feature_maps(torch.empty(1, 1, 224, 224)).shape == (1, 64, 28, 28)
    back = sum(9 * a * b + b for a, b in pairwise(BACK))
    assert sum(p.numel() for p in made.parameters()) == sum(p.numel() for p in vgg.parameters()) + back
    assert sum(p.numel() for p in made.parameters()) == 16_263_489 - 65  # 16.26 million, with a 1x1 layer more


def test_dilated_layers_begin_as_published(net: CSRNet) -> None:
    for conv in [part for part in net.back if isinstance(part, nn.Conv2d)]:
        assert float(conv.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
        assert conv.bias is not None
        assert not conv.bias.any()


def test_vgg16_weights_reach_the_front_alone(tmp_path: Path) -> None:
    front = vgg16_front()
    state = {f"features.{name}": value for name, value in front.state_dict().items()}
    rest = {"features.24.weight": torch.zeros(512, 512, 3, 3), "classifier.6.bias": torch.zeros(1000)}
    torch.save(state | rest, tmp_path / "vgg16.pth")
    torch.manual_seed(0)
    made = CSRNet(weights=str(tmp_path / "vgg16.pth"))
    for name, value in made.front.state_dict().items():
        assert value.equal(front.state_dict()[name])
    for name, value in made.back.state_dict().items():
        assert value.equal(network().back.state_dict()[name])
    torch.save(rest, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="do not fit"):
        network().load_published(str(tmp_path / "other.pth"))
    with pytest.raises(UsageError, match="vgg16"):
        network().load_published("IMAGENET")


def test_recomputing_changes_nothing_and_every_parameter_learns() -> None:
    grads = []
    for checkpointing in (False, True):
        made = network().double().train()
        maps = made.feature_maps(images().double(), checkpointing=checkpointing)
        torch.autograd.backward(maps.square().sum())
        grads.append([parameter.grad for parameter in made.parameters()])
    torch.testing.assert_close(grads[1], grads[0])
    assert all(grad is not None and grad.any() for grad in grads[0])


def test_half_precision_is_finite(net: CSRNet) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert net(images()).isfinite().all()
        assert net(images()).any()


@pytest.mark.parametrize(
    ("shape", "words"), [((1, 2, 32, 32), "1 or 3"), ((1, 32, 32), "1 or 3"), ((1, 1, 7, 32), "8 pixels")]
)
def test_wrong_images_are_refused(net: CSRNet, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(BatchError, match=words):
        net(torch.rand(shape))
    assert net(torch.rand(1, 1, 8, 9)).shape == (1, 64)
