"""The isotropic cube of a 300 x 512 x 512 scan: ours against MONAI in one and in two steps, in interleaved rounds.

Run ``python tests/benchmarks/bench_cube.py``. Prints seconds and ratios; asserts nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Resize, Spacing

sys.path.insert(0, str(Path(__file__).parents[2]))

from covidct.functional import isotropic_cube, resample_mask
from tests.benchmarks.scans import large_scan


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(rounds: int = 5) -> None:
    volume = large_scan()
    step = float(isotropic_cube(volume).spacing[0])
    affine = torch.diag(torch.tensor([*volume.spacing, 1.0], dtype=torch.float64))

    def scan() -> MetaTensor:
        return MetaTensor(torch.from_numpy(volume.array)[None], affine=affine)

    one_step = Spacing(pixdim=(step,) * 3, mode="bilinear")
    millimetre, resize = Spacing(pixdim=(1.0,) * 3, mode="bilinear"), Resize((128,) * 3)
    cube = isotropic_cube(volume)
    mask = (cube.array > -500).astype(np.uint8)
    ours, back, direct, double = [], [], [], []
    for k in range(rounds):
        ours.append(seconds(lambda: isotropic_cube(volume)))
        direct.append(seconds(lambda: one_step(scan())))
        ours.append(seconds(lambda: isotropic_cube(volume)))
        if k < 2:
            double.append(seconds(lambda: resize(millimetre(scan()))))
        ours.append(seconds(lambda: isotropic_cube(volume)))
        back.append(seconds(lambda: resample_mask(mask, cube, volume)))
    own = median(ours)
    print(f"isotropic_cube                     {own:.4f} s (least {min(ours):.4f})")
    print(f"MONAI Spacing(1 mm) + Resize(128)  {median(double):.3f} s = {median(double) / own:.0f} x")
    print(f"MONAI Spacing({step:.2f} mm)           {median(direct):.3f} s = {median(direct) / own:.1f} x")
    print(f"mask back to 300 x 512 x 512       {median(back):.4f} s")


if __name__ == "__main__":
    main()
