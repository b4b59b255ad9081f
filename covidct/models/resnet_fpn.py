"""``ResNetFPN``: the backbone and feature pyramid of the lesion detectors."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

from torch import nn
from torchvision import models as tv
from torchvision.ops import FeaturePyramidNetwork

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("PYRAMID_WIDTH", "Backbone", "ResNetFPN", "Truncation")

Backbone = Literal["resnet18", "resnet34", "resnet50"]
Truncation = Literal[0, 1, 2]

PYRAMID_WIDTH = 256
"""Channels of every level, torchvision's and the reference's."""


class ResNetFPN(nn.Module):
    """A ResNet and the feature pyramid on it, without torchvision's extra pooled level.

    All four stages of ResNet-50 feed the pyramid. Of ResNet-18 and -34 only the last retained one does: ``truncation``
    0 keeps all four (stride 32), 1 leaves out the last (stride 16), 2 the last two (stride 8). Batch normalisation is
    the trainable kind, not torchvision's frozen one (reference code, backbone_utils.py and resnet.py).

    Args:
        backbone: name of the ResNet.
        truncation: stages that are left out.
    """

    out_channels = PYRAMID_WIDTH

    def __init__(self, backbone: Backbone, truncation: Truncation) -> None:
        """Build it from random weights."""
        super().__init__()
        resnet = tv.get_model(backbone, weights=None)
        stages = [f"layer{stage}" for stage in range(1, 5 - truncation)]
        names = ("conv1", "bn1", "relu", "maxpool", *stages)
        self.body = nn.ModuleDict({name: getattr(resnet, name) for name in names})
        self.taken = tuple(stages if backbone == "resnet50" else stages[-1:])
        base = resnet.fc.in_features // 8  # channels of the first stage
        widths = [base * 2 ** (int(stage[-1]) - 1) for stage in self.taken]
        self.fpn = FeaturePyramidNetwork(widths, PYRAMID_WIDTH)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pyramid levels "0", "1", ... of (B, 256, h, w), finest first."""
        stages: OrderedDict[str, Tensor] = OrderedDict()
        for name, block in self.body.items():
            x = block(x)
            if name in self.taken:
                stages[str(len(stages))] = x
        levels: dict[str, Tensor] = self.fpn(stages)
        return levels
