"""The cache against a plain memory map of the same bytes; prints ratios, asserts nothing.

Run as ``python tests/benchmarks/bench_cache.py [rounds]``. Rounds are interleaved in one process; medians. An epoch
takes every sample once in a random order and turns it from fixed point (uint16) to float32 in [0, 1].
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

SCALE = np.float32(1 / 65535)
CASES = {
    "40 volumes of 128^3, an entry each": (40, (128, 128, 128), 1),
    "2,000 slices of 224^2, an entry each": (2000, (224, 224), 1),
    "2,000 slices of 224^2, 64 to an entry": (2000, (224, 224), 64),
}


def main(rounds: int = 7) -> None:
    """Build both stores for each case, run epochs in turn, and print."""
    print(f"numpy {np.__version__}, {rounds} interleaved rounds, files in the page cache")
    for case, (count, shape, pack) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            tasks = _tasks(Path(folder), count, shape, pack)
            seconds: dict[str, list[float]] = {task: [] for task in tasks}
            for number in range(rounds + 1):
                order = np.random.default_rng(number).permutation(count)
                for task, run in tasks.items():
                    start = time.perf_counter()
                    run(order)
                    seconds[task].append(time.perf_counter() - start)
        first = {task: values[0] for task, values in seconds.items()}
        median = {task: statistics.median(values[1:]) for task, values in seconds.items()}
        bound = median["memory map"]
        print(case)
        for task, value in median.items():
            print(
                f"  {task:12} {value * 1e3:8.1f} ms  {value / bound:5.2f} x  (first epoch {first[task] * 1e3:.1f} ms)"
            )


def _tasks(
    folder: Path, count: int, shape: tuple[int, ...], pack: int
) -> dict[str, Callable[[NDArray[np.intp]], None]]:
    """The same samples as a plain memory map and as cache entries of ``pack`` samples."""
    from covidct.io import ArrayCache, cache_key

    rng = np.random.default_rng(0)
    sample = rng.integers(0, 65536, shape, dtype=np.uint16)
    written = np.memmap(folder / "plain", dtype=np.uint16, mode="w+", shape=(count, *shape))
    for index in range(count):
        written[index] = np.roll(sample, index)
    written.flush()
    plain = np.memmap(folder / "plain", dtype=np.uint16, mode="r", shape=(count, *shape))
    cache = ArrayCache(folder / "cache")
    keys = [cache_key(str(start), config={}, version=1) for start in range(0, count, pack)]
    for start, key in zip(range(0, count, pack), keys, strict=True):
        cache.get_or_build(key, partial(_content, plain[start : start + pack]))
    out = np.empty(shape, dtype=np.float32)
    fresh = ArrayCache(folder / "cache")  # as a training process opens it

    def by_map(order: NDArray[np.intp]) -> None:
        for index in order:
            np.multiply(plain[index], SCALE, out=out)

    def by_cache(order: NDArray[np.intp]) -> None:
        for index in order.tolist():
            entry = fresh.get(keys[index // pack])
            if entry is not None:
                np.multiply(entry["image"][index % pack], SCALE, out=out)

    return {"memory map": by_map, "cache": by_cache}


def _content(image: NDArray[np.uint16]) -> tuple[dict[str, NDArray[np.uint16]], dict[str, object]]:
    return {"image": image}, {}


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
