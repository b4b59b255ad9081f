"""The X-ray lung network against a pyramid written by hand on torchvision's DenseNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models as tv
from torchvision.transforms import v2

from covidct.errors import BatchError, UsageError, WeightsError
from covidct.models import FPNDenseNet

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SMALL: dict[str, Any] = {"pyramid_channels": 8, "segmentation_channels": 64}


def network(**options: Any) -> FPNDenseNet:  # noqa: ANN401
    """In evaluation mode, with running statistics and shifts that are not 0 and 1."""
    torch.manual_seed(0)
    made = FPNDenseNet(**options)
    for name, tensor in (*made.named_buffers(), *made.named_parameters()):
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif name.endswith("bias"):
            nn.init.normal_(tensor, 0, 0.1)
    return made.eval()


def images(count: int = 2, channels: int = 1, height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(1))


def encoded(state: dict[str, Tensor], image: Tensor) -> list[Tensor]:
    """Torchvision's feature maps at a quarter to a 32nd of the size: before the convolution of each transition."""
    twin = tv.densenet121(weights=None).features
    twin.load_state_dict({k.removeprefix("encoder.features."): v for k, v in state.items() if k.startswith("encoder.")})
    found: list[Tensor] = []
    x = image
    for name, part in twin.eval().named_children():
        if name.startswith("transition"):
            found.append(F.relu(part.norm(x)))
        x = part(x)
    return [*found, x]


def decoded(state: dict[str, Tensor], maps: list[Tensor]) -> Tensor:
    """The pyramid top down, its levels brought to a quarter of the size and added, logits."""

    def pointwise(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = pointwise("decoder.p5", maps[3])
    levels = [x]
    for level in (4, 3, 2):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = x + pointwise(f"decoder.p{level}.skip_conv", maps[level - 2])
        levels.append(x)
    total = torch.zeros(())
    for place, level_map in enumerate(levels):
        y = level_map
        for step in range(max(1, 3 - place)):
            block = f"decoder.seg_blocks.{place}.block.{step}.block"
            y = F.conv2d(y, state[f"{block}.0.weight"], padding=1)
            y = F.relu(F.group_norm(y, 32, state[f"{block}.1.weight"], state[f"{block}.1.bias"]))
            if place < 3:
                y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
        total = total + y
    logits = pointwise("segmentation_head.0", total)
    return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("options", [{}, SMALL])
@torch.no_grad()
def test_is_the_pyramid_written_by_hand(options: dict[str, Any]) -> None:
    made, image = network(**options), images(height=64, width=96)
    state = made.network.state_dict()
    normalised = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(image.expand(-1, 3, -1, -1))
    expected = decoded(state, encoded(state, normalised))
    found = made(image)
    assert found.shape == (2, 1, 64, 96)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_feature_maps_have_the_published_sizes() -> None:
    maps = network().network.encoder(torch.rand(1, 3, 256, 256))
    assert [tuple(one.shape[1:]) for one in maps[1:]] == [
        (64, 128, 128),
        (256, 64, 64),
        (512, 32, 32),
        (1024, 16, 16),
        (1024, 8, 8),
    ]


def test_number_of_parameters() -> None:
    """torchvision's DenseNet-121 without its classifier, and the decoder by its definition."""
    encoder = tv.DenseNet121_Weights.IMAGENET1K_V1.meta["num_params"] - (1024 * 1000 + 1000)
    lateral = sum(channels * 256 + 256 for channels in (1024, 1024, 512, 256))
    first, further = 256 * 128 * 9 + 2 * 128, 128 * 128 * 9 + 2 * 128
    decoder = lateral + 4 * first + (2 + 1) * further
    assert sum(p.numel() for p in network().parameters()) == encoder + decoder + 128 + 1 == 9_299_713


@torch.no_grad()
def test_one_channel_is_repeated_and_statistics_are_buffers() -> None:
    made, image = network(**SMALL), images()
    expected = made(image)
    torch.testing.assert_close(made(image.expand(-1, 3, -1, -1)), expected)
    grey = network(**SMALL, mean=[0.5], std=[0.25])
    assert {"mean", "std"} <= set(grey.state_dict())
    other = network(**SMALL, mean=[0.5] * 3, std=[0.25] * 3)
    torch.testing.assert_close(grey(image), other(image))
    assert not torch.allclose(grey(image), expected)


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((1, 1, 60, 64), "64x64"),
        ((1, 1, 33, 31), "64x32"),
        ((1, 1, 0, 64), "divisible by 32"),
        ((1, 2, 64, 64), r"\(N, 1 or 3, H, W\)"),
        ((1, 64, 64), r"\(N, 1 or 3, H, W\)"),
    ],
)
def test_wrong_images_are_refused(shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(BatchError, match=match):
        network(**SMALL)(torch.zeros(shape))


def test_one_value_per_channel_is_refused_in_training() -> None:
    made = network(**SMALL)
    assert made(images(1, height=32, width=32)).shape == (1, 1, 32, 32)
    with pytest.raises(BatchError, match="one value per channel"):
        made.train()(images(1, height=32, width=32))


@pytest.mark.parametrize("old", [False, True])
def test_published_weights_reach_the_encoder_alone(tmp_path: Path, old: bool) -> None:
    torch.manual_seed(1)
    published = dict(tv.densenet121(weights=None).state_dict())
    features = {name: value for name, value in published.items() if name.startswith("features.")}
    if old:  # as the files of before 2018 call them
        published = {
            name.replace("norm1.", "norm.1.").replace("norm2.", "norm.2.").replace("conv1.", "conv.1.")
            .replace("conv2.", "conv.2."): value
            for name, value in published.items()
            if not name.endswith("num_batches_tracked")
        }  # fmt: skip
    torch.save(published, tmp_path / "densenet.pth")
    made, before = network(**SMALL), network(**SMALL).network.state_dict()
    made.load_backbone(str(tmp_path / "densenet.pth"))
    for name, value in made.network.state_dict().items():
        inside = name.startswith("encoder.")
        expected = features[name.removeprefix("encoder.")] if inside else before[name]
        assert torch.equal(value, expected), name


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    torch.save(tv.resnet18(weights=None).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(WeightsError, match="do not fit"):
        network(**SMALL).load_backbone(str(tmp_path / "resnet.pth"))
    with pytest.raises(UsageError, match="IMAGENET1K_V1"):
        network(**SMALL).load_backbone("IMAGENET")


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "resnet50"},
        {"pyramid_channels": 0},
        {"segmentation_channels": 100},
        {"segmentation_channels": 32},
        {"dropout": 1.0},
        {"mean": [2.0]},
        {"std": [0.0]},
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        FPNDenseNet(**options)
