"""Time of a COVNet training step against its bare trunk on the same real slices; prints ratios, asserts nothing.

    python -m tests.benchmarks.bench_covnet [depths] [rounds] [backbone] [pixels]

A batch of volumes of unlike depths, such as 40,64,90,128, padded to the longest. The bare trunk is torchvision's
network in the same memory format: on all real slices in one pass, and scan by scan, as statistics of the scan need.
Forward and backward pass, interleaved rounds in one process, medians; on a CPU of the processor's time, so that other
work counts little.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torchvision import models as tv

from covidct.models import COVNet
from tests.benchmarks.bench_two_level import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


def padded(depths: Sequence[int], pixels: int, device: str) -> tuple[Tensor, Tensor]:
    """Random volumes and the mask of their real slices."""
    image = torch.rand(len(depths), 1, max(depths), pixels, pixels, device=device)
    real = torch.arange(max(depths), device=device) < torch.tensor(depths, device=device)[:, None]
    return image, real


def main(depths: list[int], rounds: int, backbone: str, pixels: int) -> None:
    """Measure and print."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    image, real = padded(depths, pixels, device)
    label = torch.arange(len(depths), device=device) % 3
    bare: nn.Module = tv.get_model(backbone)
    bare.fc = bare.classifier = nn.Identity()
    bare.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    bare.train()
    slices = image.transpose(1, 2)[real].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    networks = {
        statistics: COVNet(backbone=backbone, statistics=statistics, slice_size=None).to(device).train()
        for statistics in ("scan", "running")
    }
    frugal = COVNet(backbone=backbone, slice_size=None, checkpointing=True).to(device).train()

    def trunk(parts: Sequence[Tensor]) -> None:
        torch.autograd.backward(torch.cat([bare(part) for part in parts]).square().mean())

    def step(network: COVNet) -> None:
        torch.autograd.backward(nn.functional.cross_entropy(network(image, real), label))

    variants: dict[str, Callable[[], None]] = {
        "bare trunk, one pass": partial(trunk, [slices]),
        "bare trunk, scan by scan": partial(trunk, torch.split(slices, depths)),
        **{f"COVNet, statistics={name}": partial(step, network) for name, network in networks.items()},
        "COVNet, statistics=scan, checkpointing": partial(step, frugal),
    }
    median = measure(variants, rounds, device)
    base = median["bare trunk, one pass"]
    share = sum(depths) / (len(depths) * max(depths))
    print(f"volumes of {depths} slices of {pixels}x{pixels} pixels ({share:.0%} real), {backbone}, {device}")
    for name, seconds in median.items():
        print(f"{name:40s} {seconds:7.2f} s {seconds / base:6.2f}")


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    main(
        [int(depth) for depth in given.get(0, "40,64,90,128").split(",")],
        int(given.get(1, "3")),
        given.get(2, "resnet50"),
        int(given.get(3, "224")),
    )
