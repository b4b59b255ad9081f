"""Normalisation by scan in evaluation: PyTorch's kernel against our arithmetic; time, and distance from float64.

    python -m tests.benchmarks.bench_scan_norm [slices]

Both in turn in one run, least of five rounds, on one thread; figures are in the docstring of ``ScanNorm2d``.
"""

from __future__ import annotations

import copy
import sys
import time

import torch
from torch import Tensor, nn

from covidct.layers import ScanNorm2d
from covidct.models import COVNet, ResNeXtPlus

ROUNDS = 5
SIZE = 224


def by_kernel(norm: ScanNorm2d, slices: Tensor) -> Tensor:
    """PyTorch's batch normalisation."""
    return nn.BatchNorm2d.forward(norm, slices)


def main(slices: int) -> None:
    """Print a line per network and way."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    scan = torch.rand(slices, 1, SIZE, SIZE)
    mask = (torch.rand(slices, 1, SIZE, SIZE) < 0.5).to(torch.uint8)
    ours = ScanNorm2d.forward
    print(f"torch {torch.__version__}, {slices} slices of {SIZE} x {SIZE}")
    for network, inputs in ((ResNeXtPlus().eval(), (scan, mask)), (COVNet().eval(), (scan,))):
        exact = features(copy.deepcopy(network).double(), scan.double(), *inputs[1:])
        least: dict[str, float] = {}
        off: dict[str, float] = {}
        for _ in range(ROUNDS):
            for name, way in (("kernel", by_kernel), ("ours", ours)):
                ScanNorm2d.forward = way  # type: ignore[method-assign,assignment]
                start = time.perf_counter()
                found = features(network, *inputs)
                least[name] = min(least.get(name, float("inf")), time.perf_counter() - start)
                off[name] = float((found - exact).abs().max() / exact.abs().max())
        ScanNorm2d.forward = ours  # type: ignore[method-assign]
        for name, seconds in least.items():
            ratio = seconds / least["kernel"]
            print(f"{type(network).__name__:12} {name:7} {seconds:.2f} s ({ratio:.2f}), off by {off[name]:.1e}")


@torch.no_grad()
def features(network: ResNeXtPlus | COVNet, *inputs: Tensor) -> Tensor:
    """Pooled features of each slice."""
    return network.feature_maps(*inputs).mean((2, 3))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
