"""``UNet2d``: the 2-D U-Net that finds the lungs in a slice, to take away its background.

The document of the gated dual-contrast ensemble (D000, section 3.2.2) uses a "basic" U-Net whose figure is lost; this
is that of O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, with the two changes of common use: padded convolutions and batch normalisation.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import BatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ("UNet2d",)


class UNet2d(nn.Module):
    """2-D U-Net: one logit for every pixel of a slice, above 0 inside the lungs.

    Each level has two padded 3x3 convolutions without bias, with batch normalisation and ReLU. 2x2 max-pooling leads
    down; up leads a transposed 2x2 convolution, or bilinear interpolation, to half the channels, joined with the
    level's own features.

    Why not MONAI's ``BasicUNet``: its topmost transposed convolution keeps the channels (128 beside 64, where the
    network of 2015 has 64 beside 64), its bilinear form has an extra 1x1 convolution, and it pads odd sizes inside by
    repeated edges: other weights and another function than those of the published network.

    Args:
        in_channels: 1 or 3, channels that the first convolution takes. An image of one channel is repeated for 3; of
            three channels, which of a slice are alike, the mean is taken for 1.
        channels: width of each level, top down, at least two levels; (64, 128, 256, 512, 1024) of 2015, with
            31,036,481 parameters.
        upsample: ``"transpose"``, a transposed 2x2 convolution, or ``"bilinear"``, interpolation and a 1x1 convolution.
        pad: sizes that cannot be pooled are padded with 0 (air in the window) below and at the right, and the result
            is cropped back; without it they are refused.

    Raises:
        UsageError: for a value out of range.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        upsample: Literal["transpose", "bilinear"] = "transpose",
        pad: bool = False,
    ) -> None:
        """Build the network with random weights."""
        super().__init__()
        _require(in_channels in (1, 3), f"in_channels={in_channels!r} is not usable: give 1 or 3.")
        _require(
            len(channels) >= 2 and all(type(width) is int and width >= 1 for width in channels),
            f"channels={tuple(channels)} is not usable: give the widths of at least two levels, each at least 1.",
        )
        _require(
            upsample in ("transpose", "bilinear"), f"upsample={upsample!r} is unknown: use 'transpose' or 'bilinear'."
        )
        self.in_channels = in_channels
        self.channels = tuple(channels)
        self.pad = pad
        pairs = list(pairwise(self.channels))[::-1]
        self.down = nn.ModuleList(_double(inner, outer) for inner, outer in pairwise((in_channels, *self.channels)))
        self.up = nn.ModuleList(_raise(deep, shallow, upsample) for shallow, deep in pairs)
        self.merge = nn.ModuleList(_double(2 * shallow, shallow) for shallow, _ in pairs)
        self.head = nn.Conv2d(self.channels[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every pixel.

        Args:
            image: (B, C, H, W) in [0, 1], C is 1 or 3.

        Returns:
            (B, 1, H, W) logits.

        Raises:
            BatchError: when the shape is not (B, C, H, W), or normalisation would see one value per channel.
            UsageError: when the size cannot be pooled and ``pad`` is off.
        """
        height, width = image.shape[-2:]
        x = _channels_last(self._fitted(self._channelled(image)))
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, kept[-2::-1], strict=True):
            x = merge(torch.cat((skip, up(x)), dim=1))
        logits: Tensor = self.head(x)
        return logits[..., :height, :width]  # without what was padded

    def _channelled(self, image: Tensor) -> Tensor:
        """The image with the channels of the first convolution."""
        if image.ndim != 4 or image.shape[1] not in (1, 3):
            raise BatchError(f"'image' must be (B, 1, H, W) or (B, 3, H, W), its shape is {tuple(image.shape)}.")
        if image.shape[1] == self.in_channels:
            return image
        return image.mean(1, keepdim=True) if self.in_channels == 1 else image.expand(-1, 3, -1, -1)

    def _fitted(self, image: Tensor) -> Tensor:
        """The image in a size that can be pooled."""
        step = 1 << len(self.up)
        height, width = image.shape[2:]
        valid = -(-height // step) * step, -(-width // step) * step
        if self.training and len(image) * valid[0] * valid[1] < 2 * step**2:
            raise BatchError(
                f"A slice of {height} x {width} pixels ends in one value per channel at the lowest level, where batch "
                "normalisation needs two: give larger or more slices."
            )
        if (height, width) == valid:
            return image
        if not self.pad:
            raise UsageError(
                f"A slice of {height} x {width} pixels cannot be pooled {len(self.up)} times: use {valid[0]} x "
                f"{valid[1]}, the next valid size, or pad=True."
            )
        return F.pad(image, (0, valid[1] - width, 0, valid[0] - height))


def _channels_last(image: Tensor) -> Tensor:
    """The image with its channels innermost, also by its strides where there is but one.

    Convolutions keep that order, and take half the time in it on a CPU.
    """
    _, channels, height, width = image.shape
    strides = (height * width * channels, 1, width * channels, channels)
    return image.contiguous(memory_format=torch.channels_last).as_strided(tuple(image.shape), strides)


def _double(inner: int, outer: int) -> nn.Sequential:
    """Two padded 3x3 convolutions, each with batch normalisation, whose shift takes the place of a bias, and ReLU."""
    layers: list[nn.Module] = []
    for before in (inner, outer):
        layers += [nn.Conv2d(before, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _raise(deep: int, shallow: int, upsample: str) -> nn.Module:
    """To twice the size and the next level's channels."""
    if upsample == "transpose":
        return nn.ConvTranspose2d(deep, shallow, 2, stride=2)
    # the 1x1 convolution first: it commutes with the interpolation, of a quarter of the pixels
    return nn.Sequential(nn.Conv2d(deep, shallow, 1), nn.Upsample(scale_factor=2, mode="bilinear"))


def _require(condition: bool, message: str) -> None:
    """Refuse a wrong argument."""
    if not condition:
        raise UsageError(message)
