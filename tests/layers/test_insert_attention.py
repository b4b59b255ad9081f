"""Attention inside torchvision's networks: where it stands, how much it adds, what it does."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn
from torchvision import models as tv

from covidct.errors import UsageError
from covidct.layers import (
    CBAM,
    Attention,
    EfficientChannelAttention,
    SqueezeExcite,
    adaptive_kernel_size,
    insert_attention,
    new_attention,
)

KINDS: dict[Attention, type[nn.Module]] = {"se": SqueezeExcite, "eca": EfficientChannelAttention, "cbam": CBAM}
RESNETS = {  # blocks and their channels, stage by stage
    "resnet18": ((2, 64), (2, 128), (2, 256), (2, 512)),
    "resnet50": ((3, 256), (4, 512), (6, 1024), (3, 2048)),
    "resnext50_32x4d": ((3, 256), (4, 512), (6, 1024), (3, 2048)),
}
DENSE = (256, 512, 1024, 1024)  # DenseNet-121: channels after its four dense blocks


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def added(kind: Attention, channels: int) -> int:
    """Parameters of one block by the formulas of the papers."""
    if kind == "se":
        return 2 * channels**2 // 16
    if kind == "eca":
        return adaptive_kernel_size(channels)
    return 2 * channels**2 // 16 + channels + channels // 16 + 2 * 49


def test_every_kind_is_tested() -> None:
    assert set(KINDS) == set(get_args(Attention))


def test_cbam_is_that_of_its_own_paper() -> None:
    assert count(new_attention("cbam", 64)) == 580 + 98
    made = new_attention("cbam", 64)
    assert isinstance(made, CBAM)
    assert made.order == "max_mean"


@pytest.mark.parametrize("backbone", RESNETS)
@pytest.mark.parametrize("kind", KINDS)
def test_residual_blocks_get_one_each(backbone: str, kind: Attention) -> None:
    with torch.device("meta"):
        network = tv.get_model(backbone, weights=None)
        before = count(network)
        insert_attention(network, kind)
    last = "bn2" if backbone == "resnet18" else "bn3"
    for stage, (blocks, _) in enumerate(RESNETS[backbone], start=1):
        for block in network.get_submodule(f"layer{stage}").children():
            assert [name for name, part in block.named_modules() if isinstance(part, KINDS[kind])] == [
                f"{last}.attention"
            ]
        assert len(list(network.get_submodule(f"layer{stage}").children())) == blocks
    assert not any(isinstance(part, KINDS[kind]) for part in (network.conv1, network.bn1, network.fc))
    assert count(network) - before == sum(blocks * added(kind, channels) for blocks, channels in RESNETS[backbone])


@pytest.mark.parametrize("kind", KINDS)
def test_dense_blocks_are_followed_by_one_each(kind: Attention) -> None:
    with torch.device("meta"):
        network = tv.densenet121(weights=None)
        before, names = count(network), list(network.state_dict())
        insert_attention(network, kind)
    parts = [name for name, _ in network.features.named_children()]
    assert parts[4:12] == [
        *("denseblock1", "attention1", "transition1", "denseblock2"),
        *("attention2", "transition2", "denseblock3", "attention3"),
    ]
    assert parts[-3:] == ["denseblock4", "attention4", "norm5"]
    assert count(network) - before == sum(added(kind, channels) for channels in DENSE)
    assert [name for name in network.state_dict() if ".attention" not in name] == names


def test_attention_stands_after_the_last_normalisation_and_before_the_addition() -> None:
    torch.manual_seed(0)
    network = tv.resnet18(weights=None).eval()
    block = network.layer2[0]
    maps = torch.rand(2, 64, 8, 8)
    with torch.no_grad():
        inner = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(maps)))))
        insert_attention(network, "se")
        torch.nn.init.zeros_(block.bn2.attention.excite.weight)
        expected = torch.relu(0.5 * inner + block.downsample(maps))
        torch.testing.assert_close(block(maps), expected)


def test_dense_block_is_halved_by_attention_of_zero_weights() -> None:
    torch.manual_seed(0)
    network = tv.densenet121(weights=None).eval()
    images = torch.rand(1, 3, 64, 64)
    kept: list[torch.Tensor] = []
    network.features.transition1.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].clone()))
    with torch.no_grad():
        network.features(images)
        insert_attention(network, "eca")
        torch.nn.init.zeros_(network.features.attention1.conv.weight)
        network.features(images)
    torch.testing.assert_close(kept[1], 0.5 * kept[0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_block_learns(kind: Attention) -> None:
    torch.manual_seed(0)
    network = tv.resnet18(weights=None)
    insert_attention(network, kind)
    torch.autograd.backward(network(torch.rand(2, 3, 64, 64)).square().sum())
    blocks = [part for part in network.modules() if isinstance(part, KINDS[kind])]
    assert len(blocks) == 8
    for parameter in nn.ModuleList(blocks).parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()


def test_what_cannot_be_done_is_refused() -> None:
    with torch.device("meta"):
        resnet, vgg = tv.resnet18(weights=None), tv.vgg11(weights=None)
        insert_attention(resnet, "se")
        with pytest.raises(UsageError, match="insert them once"):
            insert_attention(resnet, "eca")
        with pytest.raises(UsageError, match="not into VGG"):
            insert_attention(vgg, "se")
        dense = tv.densenet121(weights=None)
        insert_attention(dense, "eca")
        with pytest.raises(UsageError, match="insert them once"):
            insert_attention(dense, "eca")
        with pytest.raises(UsageError, match="'bam' is unknown"):
            insert_attention(tv.resnet18(weights=None), "bam")  # type: ignore[arg-type]
