"""Time of a two-level training step against its bare trunk; prints ratios, asserts nothing.

    python tests/benchmarks/bench_two_level.py [depths] [rounds] [backbone] [pixels]

A batch of volumes of unlike depths, such as 40,64,90,128. The bare trunk is torchvision's network in the same memory
format. It is measured in one training pass over all real slices, and in the passes of a step: as many training passes
as there are folds over the slices that level 1 draws, and one inference pass over all real slices. Forward and backward
pass, interleaved rounds in one process, medians; on a CPU of the processor's time, so that other work counts little.
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

from covidct.sample import Batch, collate
from covidct.tasks import TwoLevelTask

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDS = 3


def batch_of(depths: list[int], pixels: int) -> Batch:
    """Volumes whose slices all have labels, in different folds."""
    samples = []
    for number, depth in enumerate(depths):
        samples.append(
            {
                "image": torch.rand(1, depth, pixels, pixels),
                "label": torch.tensor(number % 3),
                "slice_label": torch.arange(depth) % 3,
                "scan": torch.tensor(number),
                "subject": torch.tensor(number),
                "id": str(number),
            }
        )
    return collate(samples)


def main(depths: list[int], rounds: int, backbone: str, pixels: int) -> None:
    """Measure and print."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch_of(depths, pixels).items()}
    bare: nn.Module = tv.get_model(backbone)
    bare.fc = nn.Identity()
    bare.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    real = batch["image"].transpose(1, 2)[batch["slice_mask"]].expand(-1, 3, -1, -1)
    real = real.contiguous(memory_format=torch.channels_last)
    arguments = {"backbone": backbone, "folds": FOLDS, "slice_size": None}
    tasks = {most: TwoLevelTask(level1_slices=most, **arguments).to(device).train() for most in (16, None)}  # type: ignore[arg-type]
    for task in tasks.values():
        task.log = lambda *_, **__: None  # type: ignore[method-assign]

    def train(count: int, passes: int) -> None:
        bare.train()
        for _ in range(passes):
            torch.autograd.backward(bare(real[:count]).square().mean())

    def same_passes(most: int | None) -> None:
        count = sum(depth if most is None else min(depth, most) for depth in depths)
        train(count, FOLDS)
        bare.eval()
        with torch.no_grad():
            for part in torch.split(real, 16):
                bare(part)

    def step(most: int | None) -> None:
        torch.autograd.backward(tasks[most].training_step(batch, 0))

    variants: dict[str, Callable[[], None]] = {"bare trunk, one training pass": partial(train, len(real), 1)}
    for most in tasks:
        name = "all slices" if most is None else f"{most} slices a scan"
        variants[f"bare trunk, passes of a step, {name}"] = partial(same_passes, most)
        variants[f"step, {name}"] = partial(step, most)
    median = measure(variants, rounds, device)
    base = median["bare trunk, one training pass"]
    print(f"volumes of {depths} slices of {pixels}x{pixels} pixels, {backbone}, {FOLDS} folds, {device}")
    for name, seconds in median.items():
        same = median.get(f"bare trunk, passes of a {name}", seconds)
        print(f"{name:52s} {seconds:7.2f} s {seconds / base:6.2f} of one pass {seconds / same:6.2f} of the same passes")


def measure(variants: dict[str, Callable[[], None]], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each variant."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):  # the first round warms up
        for name, run in variants.items():
            start = clock()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                times[name].append(clock() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    main(
        [int(depth) for depth in given.get(0, "40,64,90,128").split(",")],
        int(given.get(1, "3")),
        given.get(2, "resnet50"),
        int(given.get(3, "224")),
    )
