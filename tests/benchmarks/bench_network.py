"""Time of the slice network against plain alternatives; prints ratios, asserts nothing.

    python tests/benchmarks/bench_network.py [slices]

Interleaved rounds in one process, medians. The batch has two volumes, one of half the depth, a fifth of its slices
without lung.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

import torch

from covidct.models import MaskedGAPResNet

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 5


def main(depth: int) -> None:
    """Measure and print."""
    torch.manual_seed(0)
    network = MaskedGAPResNet().eval()
    image = torch.rand(2, 1, depth, 128, 128)
    lung_mask = torch.zeros(2, 1, depth, 128, 128, dtype=torch.uint8)
    lung_mask[:, :, depth // 5 :, 30:100, 20:110] = 1
    slice_mask = torch.ones(2, depth, dtype=torch.bool)
    slice_mask[1, depth // 2 :] = False
    kept = int((slice_mask & lung_mask.flatten(3).any(3)[:, 0]).sum())

    def half() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            network(image, lung_mask, slice_mask)

    variants: dict[str, Callable[[], object]] = {
        "real slices with lung": lambda: network(image, lung_mask, slice_mask),
        "all slices": lambda: network(image, lung_mask),
        "bfloat16": half,
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for name, run in variants.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    base = statistics.median(times["real slices with lung"])
    print(f"{2 * depth} slices in the batch, {kept} real ones with lung ({2 * depth / kept:.2f} times fewer)")
    for name, seconds in times.items():
        print(f"{name:28s} {statistics.median(seconds):7.2f} s  {statistics.median(seconds) / base:5.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
