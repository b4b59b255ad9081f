"""``ScanNorm2d``: batch normalisation without running estimates, of the slices of one scan or of several at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ("ScanNorm2d", "forget_estimates", "scans_apart")


class ScanNorm2d(nn.BatchNorm2d):
    """Batch normalisation that always takes its statistics from what passes it, and keeps none.

    Networks that normalise each scan by its own slices run scan by scan. Inside :func:`scans_apart` the slices of
    several scans may pass together and are normalised scan by scan all the same: a path without a loop over the batch,
    which can be exported with any number of scans and slices.

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
        if self.scans is None:
            return super().forward(slices)
        # written out: F.instance_norm fixes the number of slices when PyTorch 2.11 exports it
        by_scan = slices.reshape(*self.scans, *slices.shape[1:])
        variance, mean = torch.var_mean(by_scan, (1, 3, 4), correction=0, keepdim=True)
        scale, shift = (values.view(1, 1, -1, 1, 1) for values in (self.weight, self.bias))
        normalised: Tensor = (by_scan - mean) * torch.rsqrt(variance + self.eps) * scale + shift
        return normalised.flatten(0, 1)


def forget_estimates(network: nn.Module) -> None:
    """Put :class:`ScanNorm2d` in the place of each ``nn.BatchNorm2d`` of a network; scale and shift stay.

    Args:
        network: changed in place.
    """
    for name, norm in [pair for pair in network.named_modules() if isinstance(pair[1], nn.BatchNorm2d)]:
        bare = ScanNorm2d(norm.num_features, eps=norm.eps)
        bare.weight, bare.bias = norm.weight, norm.bias
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
