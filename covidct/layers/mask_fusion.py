"""``MaskFusion``: the first convolution of a network, for an image and its mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("MaskFusion",)


class MaskFusion(nn.Module):
    """Sum of a convolution of the image and one of the mask: ``conv_image(x) + conv_mask(m)``.

    The first may bear published weights, the second is made here, of the same geometry, with Kaiming's initialisation
    ("Semi-supervised Network for Detection of COVID-19 in Chest CT Scans", section III.B: "both the pre-trained and
    the untrained convolution layer"). Both run as one convolution of the stacked channels.

    Args:
        conv_image: a convolution without bias and groups.
    """

    def __init__(self, conv_image: nn.Conv2d) -> None:
        """Make the mask's convolution."""
        super().__init__()
        self.conv_image = conv_image
        kernel, stride = conv_image.kernel_size, conv_image.stride
        self.conv_mask = nn.Conv2d(
            1,
            conv_image.out_channels,
            (kernel[0], kernel[1]),
            stride=(stride[0], stride[1]),
            padding=conv_image.padding,  # type: ignore[arg-type]  # its own type is wider than its argument's
            bias=False,
        )
        nn.init.kaiming_normal_(self.conv_mask.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNets

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Join image and mask.

        Args:
            image: (N, C, H, W), normalised as ``conv_image`` wants it.
            mask: (N, 1, H, W) bool or any dtype of 0 and 1.

        Returns:
            (N, out_channels, h, w).
        """
        weight = torch.cat((self.conv_image.weight, self.conv_mask.weight), dim=1)
        stacked = torch.cat((image, mask.to(image.dtype)), dim=1).contiguous(memory_format=torch.channels_last)
        return F.conv2d(stacked, weight, stride=self.conv_mask.stride, padding=self.conv_mask.padding)
