"""The 2-D U-Net against counts in closed form and a plain composition of torch functions."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import BatchError, UsageError
from covidct.models import UNet2d

Up = Literal["transpose", "bilinear"]


def closed_form(inputs: int, channels: tuple[int, ...], upsample: Up) -> int:
    """Parameters: convolutions without bias, scale and shift of normalisation, the way up with bias, 1x1 head."""

    def double(before: int, after: int) -> int:
        return 9 * before * after + 9 * after * after + 4 * after

    pairs = list(pairwise(channels))
    down = double(inputs, channels[0]) + sum(double(*pair) for pair in pairs)
    taps = 4 if upsample == "transpose" else 1
    up = sum(taps * deep * shallow + shallow + double(2 * shallow, shallow) for shallow, deep in pairs)
    return down + up + channels[0] + 1


@pytest.mark.parametrize("upsample", ["transpose", "bilinear"])
@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("channels", [(64, 128, 256, 512, 1024), (3, 5, 8), (4, 4)])
def test_parameters(inputs: int, channels: tuple[int, ...], upsample: Up) -> None:
    with torch.device("meta"):
        net = UNet2d(in_channels=inputs, channels=channels, upsample=upsample)
    assert sum(p.numel() for p in net.parameters()) == closed_form(inputs, channels, upsample)


def test_parameters_of_the_usual_network() -> None:
    """31,037,698 is the count of the common PyTorch form of the 2015 network with 3 channels and 2 classes."""
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet2d(in_channels=3).parameters()) + 64 + 1 == 31_037_698
        assert sum(p.numel() for p in UNet2d().parameters()) == 31_036_481


def written_out(net: UNet2d, x: torch.Tensor) -> torch.Tensor:
    """Three levels, in evaluation mode, function by function from the weights by name."""
    w = net.state_dict()

    def double(name: str, x: torch.Tensor) -> torch.Tensor:
        for conv, norm in ((0, 1), (3, 4)):
            x = F.conv2d(x, w[f"{name}.{conv}.weight"], padding=1)
            stats = [w[f"{name}.{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
            x = F.relu(F.batch_norm(x, *stats))
        return x

    one = double("down.0", x)
    two = double("down.1", F.max_pool2d(one, 2))
    three = double("down.2", F.max_pool2d(two, 2))
    x = double("merge.0", torch.cat([two, F.conv_transpose2d(three, w["up.0.weight"], w["up.0.bias"], stride=2)], 1))
    x = double("merge.1", torch.cat([one, F.conv_transpose2d(x, w["up.1.weight"], w["up.1.bias"], stride=2)], 1))
    return F.conv2d(x, w["head.weight"], w["head.bias"])


def test_is_the_u_net() -> None:
    torch.manual_seed(0)
    net = UNet2d(channels=(3, 4, 6)).double()
    net(torch.rand(4, 1, 16, 16, dtype=torch.float64))  # statistics that are not 0 and 1
    net.eval()
    image = torch.rand(2, 1, 16, 24, dtype=torch.float64)
    torch.testing.assert_close(net(image), written_out(net, image))


def test_raising_by_interpolation_keeps_a_constant() -> None:
    """The convolution before the interpolation is the interpolation before the convolution."""
    net = UNet2d(channels=(2, 3), upsample="bilinear")
    deep = torch.rand(1, 3, 4, 5)
    conv = net.up[0][0]  # type: ignore[index]
    raised = F.interpolate(deep, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(net.up[0](deep), conv(raised), rtol=1e-5, atol=1e-6)


def test_shapes() -> None:
    with torch.device("meta"):
        net = UNet2d().eval()
        for size in ((224, 224), (512, 512), (16, 48)):
            assert net(torch.empty(2, 1, *size)).shape == (2, 1, *size)


def test_channels_of_a_grey_slice() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 1, 8, 8)
    grey, colour = UNet2d(channels=(2, 3)).eval(), UNet2d(in_channels=3, channels=(2, 3)).eval()
    for net in (grey, colour):
        torch.testing.assert_close(net(image), net(image.expand(-1, 3, -1, -1)))


def test_sizes_that_cannot_be_pooled() -> None:
    torch.manual_seed(0)
    net = UNet2d(channels=(2, 3, 4)).eval()
    with pytest.raises(UsageError, match=re.escape("use 12 x 16, the next valid size, or pad=True")):
        net(torch.rand(1, 1, 9, 16))
    padded = UNet2d(channels=(2, 3, 4), pad=True).eval()
    padded.load_state_dict(net.state_dict())
    image = torch.rand(1, 1, 9, 13)
    torch.testing.assert_close(padded(image), net(F.pad(image, (0, 3, 0, 3)))[..., :9, :13])


def test_learns_two_discs() -> None:
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    truth = (((y - 16) ** 2 + (x - 9) ** 2 < 36) | ((y - 16) ** 2 + (x - 23) ** 2 < 30))[None, None].float()
    image = 0.8 - 0.5 * truth + 0.1 * torch.randn(1, 1, 32, 32)
    net = UNet2d(channels=(6, 12))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        torch.autograd.backward(F.binary_cross_entropy_with_logits(net(image), truth))
        optimiser.step()
    found = (net.eval()(image) > 0).float()
    assert 2 * (found * truth).sum() / (found.sum() + truth.sum()) > 0.98


def test_every_parameter_gets_a_gradient() -> None:
    for upsample in ("transpose", "bilinear"):
        net = UNet2d(channels=(2, 3, 4), upsample=upsample)
        torch.autograd.backward(net(torch.rand(2, 1, 8, 8)).square().sum())
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        assert not any(
            isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3) and part.bias is not None
            for part in net.modules()
        )


def test_one_value_per_channel_is_refused_in_training_alone() -> None:
    net = UNet2d(channels=(1, 1, 1))
    with pytest.raises(BatchError, match="one value per channel"):
        net(torch.rand(1, 1, 4, 4))
    net(torch.rand(2, 1, 4, 4))
    net.eval()(torch.rand(1, 1, 4, 4))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 2, 8, 8), (1, 1, 8, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BatchError, match=r"must be \(B, 1, H, W\)"):
        UNet2d(channels=(1, 1))(torch.rand(shape))


@pytest.mark.parametrize(
    "changes", [{"in_channels": 2}, {"channels": (4,)}, {"channels": (4, 0)}, {"upsample": "nearest"}]
)
def test_wrong_arguments_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="="):
        UNet2d(**changes)
