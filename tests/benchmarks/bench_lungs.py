"""Lung mask of a 300 x 512 x 512 scan: ours against the plain scikit-image recipe, in interleaved rounds.

Run ``python tests/benchmarks/bench_lungs.py``. Prints seconds, ratios, Dice and peak memory; asserts nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import skimage
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from covidct.functional.lung_field import lung_field
from covidct.functional.lungs import _segment, segment_lungs
from tests.benchmarks.scans import large_scan

Spacing = tuple[float, float, float]
ski: Any = skimage  # without types; its parts load when they are used


def recipe(hu: NDArray[Any], closing: int = 3) -> NDArray[np.bool_]:
    """Threshold, clear border, label, regionprops, closing with a ball (3 voxels: about 2 mm), hull per slice."""
    air = hu < -500
    inner = np.stack([ski.segmentation.clear_border(one) for one in air])
    labels = ski.measure.label(inner)
    largest = sorted(ski.measure.regionprops(labels), key=lambda part: -part.area)[:2]
    lungs = np.zeros(hu.shape, bool)
    for part in largest:
        lung = ski.morphology.closing(labels == part.label, ski.morphology.ball(closing))
        for k in np.flatnonzero(lung.any((1, 2))):
            lungs[k] |= ski.morphology.convex_hull_image(lung[k])
    return lungs


def dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(2 * np.sum(a & b) / max(float(np.sum(a) + np.sum(b)), 1.0))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def peak_extra(path: Path, spacing: Spacing, what: str) -> float:
    """Peak of resident memory of one call over the moment before it, in a process of its own, in MB."""
    code = f"""
import re
import numpy as np
from pathlib import Path
from covidct.functional import lung_field, segment_lungs
def peak():  # VmHWM, since ru_maxrss is inherited from the parent process
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
hu = np.load({str(path)!r})
{what}(hu[::8, ::8, ::8].copy(), tuple(8 * s for s in {spacing}))  # loads ITK
before = peak()
{what}(hu, {spacing})
print((peak() - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(rounds: int = 3, recipes: int = 1) -> None:
    volume = large_scan()
    hu = volume.array
    d, h, w = volume.spacing
    spacing = (float(d), float(h), float(w))
    segment_lungs(hu[:8], spacing)  # loads ITK
    ours, field, full, plain = [], [], [], []
    for k in range(rounds):
        seconds, mask = timed(lambda: segment_lungs(hu, spacing))
        ours.append(seconds)
        if k < recipes:
            seconds, reference = timed(lambda: recipe(hu))
            plain.append(seconds)
        seconds, whole = timed(lambda: _segment(hu, spacing, -500.0, (1, 1, 1)))
        full.append(seconds)
        ours.append(timed(lambda: segment_lungs(hu, spacing))[0])
        field.append(timed(lambda: lung_field(hu, spacing))[0])
    print(f"segment_lungs {median(ours):.3f} s (rounds {', '.join(f'{s:.3f}' for s in ours)})")
    print(f"scikit-image recipe {median(plain):.2f} s = {median(plain) / median(ours):.0f} x")
    print(f"ours on the full grid {median(full):.2f} s, Dice {dice(mask > 0, whole > 0):.4f}")
    print(f"lung_field {median(field):.3f} s; Dice of segment_lungs with the recipe {dice(mask > 0, reference):.4f}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scan.npy"
        np.save(path, hu)
        for what in ("segment_lungs", "lung_field"):
            extra = peak_extra(path, spacing, what)
            print(f"{what}: peak extra memory {extra:.0f} MiB = {extra / (hu.nbytes / 2**20):.2f} x the int16 volume")


if __name__ == "__main__":
    main()
