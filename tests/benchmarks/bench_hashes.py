"""Perceptual hashes of decoded slices: covidct against the loop over ImageHash, with the same bits, in one run.

    python tests/benchmarks/bench_hashes.py [--slices 2000] [--size 512] [--rounds 3]

Ends with 1 when a bit differs or a ratio of medians is below 1.8.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import imagehash
import numpy as np
from PIL import Image

from covidct.curation import perceptual_hashes
from covidct.functional import window_hu
from covidct.phantom import simulate_ct

if TYPE_CHECKING:
    from collections.abc import Callable

    from covidct.curation.hashes import HashKind

LEAST = 1.8
THEIRS: dict[HashKind, Callable[[Image.Image], imagehash.ImageHash]] = {
    "ahash": imagehash.average_hash,
    "dhash": imagehash.dhash,
    "phash": imagehash.phash,
}


def slices(count: int, size: int) -> np.ndarray:
    """(N, size, size) uint8: slices of a phantom in the lung window, each moved, scaled and with noise of its own."""
    rng = np.random.default_rng(0)
    volume = simulate_ct(0, shape=(40, size // 2, size // 2)).volume
    grey = window_hu(volume.array, -1250, 250)
    out = np.empty((count, size, size), np.uint8)
    for index in range(count):
        plane = np.kron(grey[index % len(grey)], np.ones((2, 2), np.float32))
        plane = np.roll(plane, rng.integers(-20, 21, 2), (0, 1)) * rng.uniform(0.8, 1)
        out[index] = np.clip(255 * plane + rng.normal(0, 4, plane.shape), 0, 255)
    return out


def main() -> int:
    """Time both, interleaved, and compare every bit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    images = slices(args.slices, args.size)
    perceptual_hashes(images[:2], kind="phash")  # compiles
    failed = False
    for kind, hash_of in THEIRS.items():
        seconds: dict[str, list[float]] = {"imagehash": [], "covidct": []}
        for _ in range(args.rounds):
            start = time.perf_counter()
            expected = [int(str(hash_of(Image.fromarray(image))), 16) for image in images]
            middle = time.perf_counter()
            found = perceptual_hashes(images, kind=kind)
            seconds["imagehash"].append(middle - start)
            seconds["covidct"].append(time.perf_counter() - middle)
        theirs, ours = (statistics.median(values) for values in seconds.values())
        wrong = int((found != np.array(expected, np.uint64)).sum())
        failed |= wrong > 0 or theirs / ours < LEAST
        print(f"{kind}: {len(images)} slices, imagehash {theirs:.3f} s, covidct {ours:.3f} s,", end=" ")
        print(f"ratio {theirs / ours:.2f} (at least {LEAST}), {wrong} hashes differ")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
