"""Weights of one convolution that does the work of several layers, for inference: all sums in float64.

The sums are of our own, and follow from what PyTorch's layers compute.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch

from covidct.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ("fold_batch_norm", "fold_upsampling")


def fold_batch_norm(conv: nn.Conv3d, norm: nn.BatchNorm3d | None = None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that includes the batch normalisation after it.

    Args:
        conv: the convolution.
        norm: its normalisation, as in evaluation mode; None for none.

    Returns:
        weight (O, I, d, h, w) and bias (O,), float64.

    Raises:
        UsageError: when the normalisation keeps no running statistics.
    """
    weight = conv.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().double()
    if norm is None:
        return weight, bias
    if norm.running_mean is None or norm.running_var is None:
        raise UsageError("Batch normalisation without running statistics cannot be folded: train with them.")
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale = scale * norm.weight.detach().double()
        shift = shift * norm.weight.detach().double() + norm.bias.detach().double()
    return weight * scale.view(-1, 1, 1, 1, 1), bias * scale + shift


def fold_upsampling(weight: Tensor, up_weight: Tensor) -> Tensor:
    """Kernels that do a transposed 2x2x2 convolution of stride 2 and the padded 3x3x3 convolution after it at once.

    Voxel 2i + p of the result, p being 0 or 1 per axis, needs the deep voxels i - 1 + p and i + p alone: a 2x2x2 kernel
    for each of the eight p. That is 8 deep taps instead of 27 shallow ones and the transposed convolution, and the
    raised features are never made.

    Args:
        weight: (O, S, 3, 3, 3) of the convolution.
        up_weight: (I, S, 2, 2, 2) of the transposed convolution.

    Returns:
        (2, 2, 2, O, I, 2, 2, 2) float64: p, then the kernel, whose first tap is the deep voxel i - 1 + p.
    """
    kernels = weight.new_zeros(2, 2, 2, len(weight), len(up_weight), 2, 2, 2, dtype=torch.float64)
    for parity in product((0, 1), repeat=3):
        for tap in product((0, 1, 2), repeat=3):
            raised = [p + t - 1 for p, t in zip(parity, tap, strict=True)]  # relative to voxel 2i
            deep = [r // 2 - (p - 1) for r, p in zip(raised, parity, strict=True)]
            shallow = up_weight[:, :, raised[0] % 2, raised[1] % 2, raised[2] % 2].double()
            part = weight[:, :, tap[0], tap[1], tap[2]].double() @ shallow.T
            at = (parity[0], parity[1], parity[2])
            kernels[at][:, :, deep[0], deep[1], deep[2]] += part
    return kernels
