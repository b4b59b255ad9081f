"""``CBAM``: channel attention, then spatial attention, on 2-D feature maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("CBAM",)


class CBAM(nn.Module):
    """Convolutional block attention (Woo et al., "CBAM", ECCV 2018): ``F' = Mc(F) F``, ``F'' = Ms(F') F'``.

    Mc = sigmoid(MLP(mean) + MLP(max)), means and maxima over the pixels, one MLP C -> C/r -> C for both, with ReLU
    between its layers (the original and its code; the equations of "Semi-supervised Network for Detection of COVID-19
    in Chest CT Scans", section III.C, leave the ReLU out, which would make the two layers one). Ms = sigmoid(conv of
    [mean, max] over the channels), without batch normalisation, as in the equations of that document.

    Args:
        channels: C.
        reduction: r; 16 in the original, the COVID-19 document is silent.
        kernel_size: of the spatial convolution, odd; 7 in the original, 9 in the COVID-19 document.
        mlp_bias: biases in the MLP, as in the original's code: 580 parameters for C = 64, r = 16, otherwise 512.
        spatial_bias: a bias in the spatial convolution; none in both sources: 162 parameters for 9 x 9.
        order: of the two maps that the spatial convolution sees: ``"mean_max"`` (the COVID-19 document, eq. 10) or
            ``"max_mean"`` (the original's code); matters for weights from elsewhere only.

    Raises:
        UsageError: when the sizes do not fit, or for an unknown order.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        kernel_size: int = 9,
        mlp_bias: bool = True,
        spatial_bias: bool = False,
        order: Literal["mean_max", "max_mean"] = "mean_max",
    ) -> None:
        """Build the two attentions."""
        super().__init__()
        if channels < reduction or channels % reduction:
            raise UsageError(f"reduction={reduction} must divide the {channels} channels.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UsageError(f"kernel_size={kernel_size} must be odd, so that the map keeps its size.")
        if order not in ("mean_max", "max_mean"):
            raise UsageError(f"order={order!r} is unknown: use 'mean_max' or 'max_mean'.")
        self.order = order
        self.squeeze = nn.Linear(channels, channels // reduction, bias=mlp_bias)
        self.excite = nn.Linear(channels // reduction, channels, bias=mlp_bias)
        self.spatial = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=spatial_bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Weigh feature maps.

        Args:
            maps: (N, C, H, W), any floating dtype.

        Returns:
            (N, C, H, W) of the same dtype.
        """
        weighted = maps * self.channel_weights(maps)[..., None, None]
        return weighted * self.spatial_weights(weighted)

    def channel_weights(self, maps: Tensor) -> Tensor:
        """Mc, (N, C) in (0, 1), of ``maps`` (N, C, H, W)."""
        pooled = torch.stack((maps.mean((2, 3)), maps.flatten(2).max(2).values))  # amax costs twice as much backward
        weights: Tensor = self.excite(F.relu(self.squeeze(pooled))).sum(0).sigmoid()
        return weights

    def spatial_weights(self, maps: Tensor) -> Tensor:
        """Ms, (N, 1, H, W) in (0, 1), of ``maps`` (N, C, H, W)."""
        mean, peak = maps.mean(1, keepdim=True), maps.max(1, keepdim=True).values
        pair = (mean, peak) if self.order == "mean_max" else (peak, mean)
        stacked = torch.cat(pair, dim=1).contiguous(memory_format=torch.channels_last)  # 3 times as fast on the CPU
        weights: Tensor = self.spatial(stacked).sigmoid()
        return weights
