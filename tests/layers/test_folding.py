"""Folded weights against the layers that they stand for."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import UsageError
from covidct.layers import fold_batch_norm, fold_upsampling


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_batch_normalisation_is_in_the_convolution(affine: bool, bias: bool) -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv3d(2, 3, 3, bias=bias).double(), nn.BatchNorm3d(3, affine=affine).double()
    for tensor in (*norm.parameters(), norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 2)
    x = torch.randn(2, 2, 4, 5, 6, dtype=torch.float64)
    weight, shift = fold_batch_norm(conv, norm.eval())
    torch.testing.assert_close(F.conv3d(x, weight, shift), norm(conv(x)).detach())
    torch.testing.assert_close(F.conv3d(x, *fold_batch_norm(conv)), conv(x).detach())


def test_batch_normalisation_without_statistics_is_refused() -> None:
    with pytest.raises(UsageError, match="running statistics"):
        fold_batch_norm(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1, track_running_stats=False))


def test_eight_kernels_upsample_and_convolve() -> None:
    torch.manual_seed(0)
    weight, up_weight = torch.randn(4, 3, 3, 3, 3).double(), torch.randn(5, 3, 2, 2, 2).double()
    deep = torch.randn(1, 5, 2, 3, 4).double()
    expected = F.conv3d(F.conv_transpose3d(deep, up_weight, stride=2), weight, padding=1)
    kernels = fold_upsampling(weight, up_weight)
    framed = F.pad(deep, [1] * 6)
    for z, y, x in product((0, 1), repeat=3):
        found = F.conv3d(framed[:, :, z : z + 3, y : y + 4, x : x + 5], kernels[z, y, x])
        torch.testing.assert_close(found, expected[:, :, z::2, y::2, x::2])
