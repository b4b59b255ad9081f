"""``ScanNorm2d``: batch normalisation without running estimates, of the slices of one scan or of several at once.

Two of the systems normalise so: ResNeXt+ (A. Mohammed et al., IEEE Access 2020, section V.D: "disabled all batch
normalization layers running estimates") and COVNet's published code. Several scans at once are of our own.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ("ScanNorm2d", "forget_estimates", "scans_apart")

_BY_SCAN = (1, 3, 4)  # all axes of (B, D, C, H, W) but scans and channels
_SLICES = 8  # at a time


class ScanNorm2d(nn.BatchNorm2d):
    """Batch normalisation that always takes its statistics from what passes it, and keeps none.

    Networks that normalise each scan by its own slices run scan by scan. Inside :func:`scans_apart` the slices of
    several scans may pass together and are normalised scan by scan all the same: a path without a loop over the batch,
    which can be exported with any number of scans and slices.

    Evaluation on a CPU goes that path too, with one scan: PyTorch's own kernel adds up channels-last squares in float32
    and misses the variance by 3e-5 of it, of which deep networks make 3e-4 of their features. Here it is 2e-7 and 5e-5
    (8 slices of 224 x 224, ResNet-50 and ResNeXt-50), at 1.05 to 1.2 times the time of the network, and a network and
    its exported file do nearly the same arithmetic (``tests/benchmarks/bench_scan_norm.py``). A channel of one value
    becomes its shift there; in training PyTorch refuses it.

    Args:
        num_features: channels.
        eps: added to the variance.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        """Build it with scale 1 and shift 0."""
        super().__init__(num_features, eps=eps, track_running_stats=False)
        self.scans: tuple[int, int] | None = None

    def forward(self, slices: Tensor) -> Tensor:
        """Normalise.

        Args:
            slices: (N, C, H, W), of one scan; inside :func:`scans_apart` of B scans of D slices each, N = B D.

        Returns:
            (N, C, H, W).
        """
        if self.scans is None and (self.training or slices.is_cuda):
            return super().forward(slices)
        # written out: F.instance_norm fixes the number of slices when PyTorch 2.11 exports it
        by_scan = slices.reshape(*(self.scans or (1, slices.shape[0])), *slices.shape[1:])
        mean, variance = _statistics(by_scan)
        scale = torch.rsqrt(variance + self.eps) * self.weight[:, None, None]
        normalised = torch.addcmul(self.bias[:, None, None] - mean * scale, by_scan, scale)
        return normalised.flatten(0, 1).to(slices.dtype)


def _statistics(by_scan: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (B, 1, C, 1, 1), at least float32, of scans (B, D, C, H, W)."""
    wide = torch.promote_types(by_scan.dtype, torch.float32)
    mean = by_scan.mean(_BY_SCAN, keepdim=True, dtype=wide)
    # a few slices at a time stay in the cache and need no second copy of the scan; a graph has to take any number
    parts = (by_scan,) if torch.compiler.is_compiling() else by_scan.chunk(-(-by_scan.shape[1] // _SLICES), 1)
    squares = [(part - mean).square().sum(_BY_SCAN, keepdim=True) for part in parts]
    count = by_scan.shape[1] * by_scan.shape[3] * by_scan.shape[4]
    variance = torch.stack(squares).sum(0, dtype=torch.float64) / count
    return mean, variance.to(wide)


def forget_estimates(network: nn.Module) -> None:
    """Put :class:`ScanNorm2d` in the place of each ``nn.BatchNorm2d`` of a network; scale and shift stay.

    Args:
        network: changed in place.
    """
    for name, norm in [pair for pair in network.named_modules() if isinstance(pair[1], nn.BatchNorm2d)]:
        bare = ScanNorm2d(norm.num_features, eps=norm.eps)
        bare.weight, bare.bias = norm.weight, norm.bias
        bare.train(norm.training)
        network.set_submodule(name, bare)


@contextmanager
def scans_apart(network: nn.Module, scans: int, slices: int) -> Iterator[None]:
    """Let the slices of several scans pass a network together, each scan normalised by its own slices.

    Args:
        network: whose :class:`ScanNorm2d` take part; other parts treat slices one by one.
        scans: B.
        slices: D, of each scan.
    """
    norms = [part for part in network.modules() if isinstance(part, ScanNorm2d)]
    for norm in norms:
        norm.scans = (scans, slices)
    try:
        yield
    finally:
        for norm in norms:
            norm.scans = None
