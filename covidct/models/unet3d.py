"""``UNet3d``: the 3-D U-Net that segments the lungs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import UsageError
from covidct.layers import recompute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ("UNet3d",)


class UNet3d(nn.Module):
    """3-D U-Net with padded convolutions.

    Source: the lung network of the mask-weighted GAP system, whose text leaves out widths, depth and normalisation: two
    3x3x3 convolutions with ReLU per level, 2x2x2 max-pooling, transposed 2x2x2 convolutions that halve the channels,
    concatenation. The padded convolutions are required: without padding 128 becomes 29, which cannot be pooled.

    Args:
        in_channels: channels of the image.
        num_classes: channels of the result; 3: background, right lung, left lung.
        channels: width of each level, top down; (32, 64, 128, 256) has 5,602,595 parameters.
        norm: ``"batch"``, ``"instance"`` or None after each convolution.
        upsample: ``"transpose"``, a transposed 2x2x2 convolution.
        pad: pad sizes that cannot be pooled at the far ends, and crop the result; else they are refused.
        checkpointing: recompute activations in the backward pass, to fit smaller devices.

    Raises:
        UsageError: for a value out of range.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 3,
        channels: Sequence[int] = (32, 64, 128, 256),
        norm: Literal["batch", "instance"] | None = "batch",
        upsample: Literal["transpose"] = "transpose",
        pad: bool = False,
        checkpointing: bool = False,
    ) -> None:
        """Build the network with random weights."""
        super().__init__()
        widths = tuple(channels)
        self.pad = pad
        self.checkpointing = checkpointing
        self.down = nn.ModuleList(
            _double(inner, outer, norm) for inner, outer in zip((in_channels, *widths[:-1]), widths, strict=True)
        )
        pairs = list(zip(widths[:-1], widths[1:], strict=True))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose3d(deep, shallow, 2, stride=2) for shallow, deep in pairs)
        self.merge = nn.ModuleList(_double(2 * shallow, shallow, norm) for shallow, _ in pairs)
        self.head = nn.Conv3d(widths[0], num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every voxel.

        Args:
            image: (B, C, D, H, W) in [0, 1].

        Returns:
            (B, num_classes, D, H, W) logits.
        """
        step = 2 ** len(self.up)
        size = image.shape[2:]
        if any(side % step for side in size):
            valid = tuple(-(-side // step) * step for side in size)
            if not self.pad:
                raise UsageError(
                    f"A volume of {tuple(size)} voxels cannot be pooled {len(self.up)} times: use {valid}, the next "
                    "valid size, or pad=True."
                )
            short = [edge for side, full in zip(size[::-1], valid[::-1], strict=True) for edge in (0, full - side)]
            return self._run(F.pad(image, short))[..., : size[0], : size[1], : size[2]]
        return self._run(image)

    def _run(self, x: Tensor) -> Tensor:
        kept = []
        for level, block in enumerate(self.down):
            x = self._block(block, F.max_pool3d(x, 2) if level else x)
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, kept[-2::-1], strict=True):
            x = self._block(merge, torch.cat((skip, up(x)), dim=1))
        logits: Tensor = self.head(x)
        return logits

    def _block(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return recompute(block, x)
        result: Tensor = block(x)
        return result


def _double(inner: int, outer: int, norm: str | None) -> nn.Sequential:
    """Two padded 3x3x3 convolutions, each with normalisation and ReLU."""
    layers: list[nn.Module] = []
    for width in (inner, outer):
        layers.append(nn.Conv3d(width, outer, 3, padding=1))
        if norm == "batch":
            layers.append(nn.BatchNorm3d(outer))
        elif norm == "instance":
            layers.append(nn.InstanceNorm3d(outer, affine=True))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
