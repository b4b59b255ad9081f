"""Attention blocks inside torchvision's ResNets and DenseNets."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, get_args

from torch import nn
from torchvision.models.densenet import DenseNet, _DenseBlock
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from covidct.errors import UsageError
from covidct.layers.cbam import CBAM
from covidct.layers.efficient_channel_attention import EfficientChannelAttention
from covidct.layers.squeeze_excite import SqueezeExcite

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("Attention", "NormThenAttention", "insert_attention", "new_attention")

Attention = Literal["se", "eca", "cbam"]
"""Squeeze and excitation, efficient channel attention, convolutional block attention."""


class NormThenAttention(nn.Module):
    """The last batch normalisation of a residual block, then attention, before the addition.

    Args:
        norm: the normalisation that stood there.
        attention: acts on its output.
    """

    def __init__(self, norm: nn.Module, attention: nn.Module) -> None:
        """Keep both."""
        super().__init__()
        self.norm = norm
        self.attention = attention

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise and weigh maps (N, C, H, W)."""
        weighed: Tensor = self.attention(self.norm(maps))
        return weighed


def new_attention(kind: Attention, channels: int) -> nn.Module:
    """An attention block with the settings of its own publication.

    SE is by Hu et al. (2018), ECA by Wang et al. (2020), CBAM by Woo et al. (2018): 7 x 7, maximum before mean.

    Args:
        kind: which.
        channels: of the maps it shall weigh.

    Returns:
        The block with random weights: maps (N, C, H, W) in, C being ``channels``, maps of the same shape out.

    Raises:
        UsageError: for an unknown kind, or channels that 16 does not divide where the block needs that.
    """
    if kind == "se":
        return SqueezeExcite(channels)
    if kind == "eca":
        return EfficientChannelAttention(channels)
    if kind == "cbam":
        return CBAM(channels, kernel_size=7, order="max_mean")
    raise UsageError(f"attention={kind!r} is unknown: use one of {', '.join(get_args(Attention))}, or null.")


def insert_attention(network: nn.Module, kind: Attention) -> None:
    """Put an attention block into every stage of a network, in place.

    In a ResNet (ResNeXt, Wide ResNet) it follows the last batch normalisation of each residual block, before the
    addition, as in the three papers; in a DenseNet, which adds nothing, it follows each dense block (recommendation).
    The practicum's report says which blocks were used and not where.

    Args:
        network: a torchvision network.
        kind: of attention.

    Raises:
        UsageError: for another kind of network, one that has attention blocks already, or an unknown kind of attention.
    """
    if any(isinstance(part, SqueezeExcite | EfficientChannelAttention | CBAM) for part in network.modules()):
        raise UsageError("The network holds attention blocks already: insert them once.")
    if isinstance(network, ResNet):
        for block in [m for m in network.modules() if isinstance(m, BasicBlock | Bottleneck)]:
            name = "bn3" if isinstance(block, Bottleneck) else "bn2"
            norm = getattr(block, name)
            setattr(block, name, NormThenAttention(norm, new_attention(kind, norm.num_features)))
    elif isinstance(network, DenseNet):
        network.features = nn.Sequential(_with_attention(network.features, kind))
    else:
        raise UsageError(
            f"attention={kind!r} can be put into ResNet, ResNeXt and DenseNet, not into {type(network).__name__}: "
            "choose such a backbone, or attention=null."
        )


def _with_attention(features: nn.Sequential, kind: Attention) -> OrderedDict[str, nn.Module]:
    """The parts of a DenseNet, each dense block followed by attention; names of the other parts stay."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 0
    for name, part in features.named_children():
        parts[name] = part
        if isinstance(part, _DenseBlock):
            first, growth = part["denselayer1"], len(part)
            channels = first.norm1.num_features + growth * first.conv2.out_channels
            parts[f"attention{name.removeprefix('denseblock')}"] = new_attention(kind, channels)
    return parts
