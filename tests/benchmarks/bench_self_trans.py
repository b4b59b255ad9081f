"""Time of a step of momentum contrast against its two bare trunk passes; prints ratios, asserts nothing.

    python tests/benchmarks/bench_self_trans.py [images] [rounds] [backbone]

Grey images of 224 x 224 pixels. The bare passes are torchvision's network, with the same memory format, once with and
once without gradient, on three channels, in one batch. A step is both encoders, the loss against 1024 keys, the queue,
the backward pass and the slow mean, with batch normalisation in one group (as the bare passes) and in four; the step of
the optimizer is in none of them. Interleaved rounds in one process, medians.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from covidct.losses import InfoNCELoss
from covidct.models import SelfTransDenseNet, Trunk

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 224


def main(count: int, rounds: int, backbone: str) -> None:
    """Measure and print."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    views = torch.rand(count, 2, 1, SIZE, SIZE, device=device)
    bare: nn.Module = Trunk(backbone).network.to(device).train()
    networks = {groups: SelfTransDenseNet(backbone=backbone, bn_groups=groups).to(device).train() for groups in (1, 4)}
    loss = InfoNCELoss(0.2)

    def trunk() -> None:
        one, two = (
            view.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last) for view in views.unbind(1)
        )
        with torch.no_grad():
            bare(two)
        torch.autograd.backward(bare(one).square().mean())

    def whole(groups: int) -> None:
        net = networks[groups]
        out = net(views)
        found = loss(out["query"], out["key"], net.queue.clone())
        net.enqueue(out["key"])
        torch.autograd.backward(found)
        net.update_key()

    variants: dict[str, Callable[[], None]] = {
        "bare passes": trunk,
        **{f"step, {groups} group(s)": partial(whole, groups) for groups in networks},
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):  # the first round warms up
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - start)
    base = statistics.median(times["bare passes"])
    print(f"{count} images of {SIZE}x{SIZE} pixels, {backbone}, {device}")
    for name, seconds in times.items():
        print(f"{name:18s} {statistics.median(seconds):7.2f} s  {statistics.median(seconds) / base:5.2f}")


if __name__ == "__main__":
    count, rounds = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 32), (2, 3)))
    main(count, rounds, sys.argv[3] if len(sys.argv) > 3 else "densenet169")
