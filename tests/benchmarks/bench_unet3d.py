"""Inference of the lung network on one 128^3 volume; prints ratios and shares of the matrix product's speed.

    python tests/benchmarks/bench_unet3d.py [rounds] [size]

Interleaved rounds in one process, medians of the ratios within a round. Once with all threads, in wall time, and once
with one thread, in processor time, which other processes disturb less. The operations are those of the plain network,
counted by hand: a path that needs fewer for the same result may pass 100 %. Last, the growth of the process in one
pass of each, in a process of its own.
"""

from __future__ import annotations

import copy
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from covidct.models import UNet3d, inference_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_GEMM = 4096  # side of the matrices, as in the reference measurement
_NAMES = (
    "plain float32",
    "plain float32, channels-last",
    "plain bfloat16 (autocast)",
    "plain bfloat16",
    "plain bfloat16, channels-last",
    "inference_copy float32",
    "inference_copy bfloat16",
    "inference_copy bfloat16, labels",
)


def operations(net: UNet3d, size: int) -> float:
    """Two per multiplication, of one (1, 1, size, size, size) volume."""
    channels, total = (1, *net.channels), 0
    for level, (inner, outer) in enumerate(zip(channels, net.channels, strict=False)):
        voxels = (size >> level) ** 3
        total += voxels * 27 * (inner * outer + outer * outer)
        if level:  # the upsampling to the level above, and its two convolutions
            total += 8 * voxels * (outer * inner + 27 * (2 * inner * inner + inner * inner))
    return 2.0 * (total + size**3 * net.channels[0] * net.num_classes)


def paths(size: int) -> dict[str, Callable[[], object]]:
    """The network in each of its forms."""
    torch.manual_seed(0)
    net = UNet3d().eval()
    image = torch.rand(1, 1, size, size, size)
    half, last = copy.deepcopy(net).bfloat16(), torch.channels_last_3d
    rows, half_rows = copy.deepcopy(net).to(memory_format=last), copy.deepcopy(half).to(memory_format=last)
    fast, fast_half = inference_copy(net, dtype=torch.float32), inference_copy(net, dtype=torch.bfloat16)

    def autocast() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: Tensor = net(image)
        return logits

    calls = (
        lambda: net(image),
        lambda: rows(image.contiguous(memory_format=last)),
        autocast,
        lambda: half(image.bfloat16()),
        lambda: half_rows(image.bfloat16().contiguous(memory_format=last)),
        lambda: fast(image),
        lambda: fast_half(image),
        lambda: fast_half.labels(image),
    )
    return dict(zip(_NAMES, calls, strict=True))


def compare(threads: int, rounds: int, size: int) -> None:
    """Measure all paths and print a table."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    left, right = torch.randn(2, _GEMM, _GEMM).bfloat16()
    calls = {"matrix product": lambda: left @ right, **paths(size)}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if turn:  # the first round warms up
                times[name].append(clock() - start)
    gemm = [2 * _GEMM**3 / seconds for seconds in times.pop("matrix product")]
    work = operations(UNet3d(), size)
    print(f"{threads} thread(s): {work / 1e9:.0f} GFLOP, bfloat16 matrix product {statistics.median(gemm) / 1e9:.0f}/s")
    for name, seconds in times.items():
        share = statistics.median(work / s / g for s, g in zip(seconds, gemm, strict=True))
        gain = statistics.median(p / s for p, s in zip(times["plain bfloat16"], seconds, strict=True))
        print(f"  {name:32s} {statistics.median(seconds):7.2f} s  {share:5.0%} of it  {gain:5.2f} x plain bfloat16")


def growth(name: str, size: int) -> None:
    """Print the MiB by which the process grows in one pass."""
    with torch.inference_mode():
        call = paths(size)[name]
        paths(16)[name]()  # libraries and code of the kernels
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
        before = peak()
        call()
    print(f"  {name:32s} {(peak() - before) / 1024:7.0f} MiB")


def peak() -> int:
    """Largest resident memory of this process in KiB; Linux alone."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found.group(1)) if found else 0


def main(rounds: int, size: int) -> None:
    """Measure and print."""
    with torch.inference_mode():
        for threads in sorted({1, torch.get_num_threads()}, reverse=True):
            compare(threads, rounds, size)
    print("extra memory")
    for name in _NAMES:
        subprocess.run([sys.executable, __file__, "--growth", name, str(size)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--growth"]:
        growth(sys.argv[2], int(sys.argv[3]))
    else:
        main(*(int(given) for given in (*sys.argv[1:], *("5", "128")[len(sys.argv) - 1 :])))
