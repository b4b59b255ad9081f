"""Time of a ResNeXt+ training step against its bare trunk; prints ratios, asserts nothing.

    python tests/benchmarks/bench_resnext_plus.py [slices] [rounds] [backbone]

One volume of slices at 224 x 224 pixels; the bare trunk is torchvision's network with batch statistics and the same
memory format, mean-pooled. Forward and backward pass, interleaved rounds in one process, medians.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torchvision import models as tv

from covidct.models import ResNeXtPlus

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 224


def main(depth: int, rounds: int, backbone: str) -> None:
    """Measure and print."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    image = torch.rand(1, 1, depth, SIZE, SIZE, device=device)
    lung_mask = torch.zeros(1, 1, depth, SIZE, SIZE, dtype=torch.uint8, device=device)
    lung_mask[..., 60:180, 30:190] = 1
    bare = tv.get_model(backbone, norm_layer=partial(nn.BatchNorm2d, track_running_stats=False)).to(device)
    bare.fc = nn.Identity()
    bare.to(memory_format=torch.channels_last).train()
    networks = {
        variant: ResNeXtPlus(backbone=backbone, variant=variant).to(device).train()  # type: ignore[arg-type]
        for variant in ("proposed", "N-MSCA")
    }
    networks["checkpointing"] = ResNeXtPlus(backbone=backbone, checkpointing=True).to(device).train()  # type: ignore[arg-type]

    def trunk() -> torch.Tensor:
        slices = image[0].transpose(0, 1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        found: torch.Tensor = bare(slices)
        return found.square().mean()

    def whole(name: str) -> torch.Tensor:
        logits: torch.Tensor = networks[name](image, lung_mask)["logits"]
        return nn.functional.cross_entropy(logits, torch.ones(1, dtype=torch.int64, device=device))

    variants: dict[str, Callable[[], torch.Tensor]] = {
        "bare trunk": trunk,
        **{name: partial(whole, name) for name in networks},
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):  # the first round warms up
        for name, run in variants.items():
            start = time.perf_counter()
            torch.autograd.backward(run())
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - start)
    base = statistics.median(times["bare trunk"])
    print(f"{depth} slices of {SIZE}x{SIZE} pixels, {backbone}, forward and backward, {device}")
    for name, seconds in times.items():
        print(f"{name:14s} {statistics.median(seconds):7.2f} s  {statistics.median(seconds) / base:5.2f}")


if __name__ == "__main__":
    depth, rounds = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 50), (2, 3)))
    main(depth, rounds, sys.argv[3] if len(sys.argv) > 3 else "resnext50_32x4d")
