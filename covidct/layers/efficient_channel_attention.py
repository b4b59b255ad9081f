"""``EfficientChannelAttention``: channel weights from neighbouring channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from covidct.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("EfficientChannelAttention", "adaptive_kernel_size")

_GAMMA, _B = 2, 1  # Wang et al., section 3.2.3


def adaptive_kernel_size(channels: int) -> int:
    """Odd kernel size for C channels: ``t = int(|(log2 C + b) / gamma|)``, t or t + 1, with gamma 2 and b 1.

    Wang et al., "ECA-Net" (CVPR 2020), eq. 12: 3 for 16 to 64 channels, 5 for 128 to 1024, 7 for 2048.

    Args:
        channels: C.

    Returns:
        The kernel size, at least 1.

    Raises:
        UsageError: without channels.
    """
    if channels < 1:
        raise UsageError(f"channels={channels} must be at least 1.")
    nearest = int(abs((math.log2(channels) + _B) / _GAMMA))
    return nearest if nearest % 2 else nearest + 1


class EfficientChannelAttention(nn.Module):
    """ECA (Wang et al., CVPR 2020): ``y = s x``, ``s = sigmoid(conv1d_k(mean(x)))`` along the channels.

    One convolution for all channels, zero padded, without bias: k parameters.

    Args:
        channels: C, from which k follows (:func:`adaptive_kernel_size`).

    Raises:
        UsageError: without channels.
    """

    def __init__(self, channels: int) -> None:
        """Build the convolution."""
        super().__init__()
        size = adaptive_kernel_size(channels)
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Weigh feature maps.

        Args:
            maps: (N, C, H, W), any floating dtype.

        Returns:
            (N, C, H, W) of the same dtype.
        """
        weights: Tensor = self.conv(maps.mean((2, 3))[:, None])[:, 0].sigmoid()
        return maps * weights[..., None, None]
