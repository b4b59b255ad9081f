"""Equalisation of a stack of slices: this library's against scikit-image's in the same run.

Global equalisation and CLAHE of 8-bit slices of 512 x 512 pixels; scikit-image goes slice by slice with the same number
of tiles and its own form of the clip limit. Rounds are interleaved, ratios are taken within a round.

    python tests/benchmarks/bench_equalise.py [--slices 20] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from skimage import exposure

from covidct.functional import clahe, equalise, equalise_histogram, window_hu
from covidct.phantom import simulate_ct

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE, TILES, CLIP = 512, 8, 2.0
GOAL = 15  # times faster than scikit-image, CLAHE


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def slices(count: int) -> np.ndarray:
    """8-bit slices of a phantom, enlarged to the size of a scan."""
    volume = simulate_ct(0, diagnosis="covid", shape=(32, 256, 256)).volume
    levels = np.rint(window_hu(volume.array) * 255).astype(np.uint8)
    return np.stack([cv2.resize(levels[k % len(levels)], (SIZE, SIZE)) for k in range(count)])


def main() -> None:
    """Print medians and ratios of interleaved rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    stack = slices(options.slices)
    tile = SIZE // TILES
    skimage: Any = exposure
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "HE": (lambda: equalise_histogram(stack), lambda: [skimage.equalize_hist(one) for one in stack]),
        "CLAHE": (
            lambda: clahe(stack),
            lambda: [skimage.equalize_adapthist(one, tile, clip_limit=CLIP / 256) for one in stack],
        ),
        "HE, then CLAHE": (
            lambda: equalise(stack),
            lambda: [
                skimage.equalize_adapthist(skimage.equalize_hist(one), tile, clip_limit=CLIP / 256) for one in stack
            ],
        ),
    }
    for name, works in pairs.items():
        times = [tuple(seconds(work) for work in works) for _ in range(options.rounds)]
        ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        print(f"{name:16} covidct {ours:7.4f} s  scikit-image {theirs:7.3f} s  {ratio:6.1f} x  (CLAHE: goal {GOAL} x)")


if __name__ == "__main__":
    main()
