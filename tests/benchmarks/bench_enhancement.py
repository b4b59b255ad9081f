"""Stochastic enhancement of a slice: compiled walks against a plain Python loop and against vectorised numpy.

All three draw 250 walks of 20 steps and 20 rounds of 250 samples for every pixel of a 256 x 256 slice; the plain loop
runs on a few pixels and is scaled up. The alternatives take their random numbers from their own generators.

    python tests/benchmarks/bench_enhancement.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from covidct.functional import gradient_strength, stochastic_enhance
from covidct.phantom import simulate_ct

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE, WALKS, STEPS, ROUNDS, SAMPLES, RADIUS = 256, 250, 20, 20, 250, 20
NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
CROP = 3  # pixels a side for the plain loop


def plain(image: np.ndarray, size: int) -> list[list[float]]:
    """The equations, number by number, for ``size`` x ``size`` pixels in the middle."""
    grey, strength = image.tolist(), gradient_strength(image).tolist()
    first = SIZE // 2
    rows = []
    for row in range(first, first + size):
        line = []
        for column in range(first, first + size):
            here, weights, values = grey[row][column], 0.0, 0.0
            for _ in range(WALKS):
                r, c, away, variation, total, before = row, column, 0.0, 0.0, here, strength[row][column]
                for _ in range(STEPS):
                    down, across = random.choice(NEIGHBOURS)  # noqa: S311
                    r, c = r + down, c + across
                    value, edge = grey[r][c], strength[r][c]
                    away, variation, total, before = (
                        away + abs(value - here),
                        variation + abs(edge - before),
                        total + value,
                        edge,
                    )
                weight = math.exp(-away / (STEPS + 1) / 0.5 - variation / 0.3)
                weights, values = weights + weight, values + weight * total / (STEPS + 1)
            place = 0.0
            for _ in range(ROUNDS):
                low = high = here
                for _ in range(SAMPLES):
                    distance, angle = RADIUS * random.random(), 2 * math.pi * random.random()  # noqa: S311
                    value = grey[row + round(distance * math.sin(angle))][column + round(distance * math.cos(angle))]
                    low, high = min(low, value), max(high, value)
                place += (here - low) / (high - low) if high > low else 0.5
            base = values / weights
            line.append(base + 0.5 * (place / ROUNDS - 0.5) + 0.5 * (here - base))
        rows.append(line)
    return rows


def vectorised(image: np.ndarray) -> np.ndarray:
    """The equations on whole images: all pixels take one step of one walk at a time."""
    rng = np.random.default_rng(0)
    grey, strength = (np.pad(one, STEPS, mode="reflect").ravel() for one in (image, gradient_strength(image)))
    stride = SIZE + 2 * STEPS
    inner = np.arange(STEPS, STEPS + SIZE)
    start = (inner[:, None] * stride + inner).ravel().astype(np.int32)
    offsets = np.array([down * stride + across for down, across in NEIGHBOURS], dtype=np.int32)
    here = grey[start]
    weights, values = np.zeros_like(here), np.zeros_like(here)
    for _ in range(WALKS):
        place, before = start, strength[start]
        away, variation, total = np.zeros_like(here), np.zeros_like(here), here.copy()
        directions = rng.integers(0, 8, (STEPS, start.size), dtype=np.uint8)
        for direction in directions:
            place = place + offsets[direction]
            value, edge = grey[place], strength[place]
            away += np.abs(value - here)
            variation += np.abs(edge - before)
            total += value
            before = edge
        weight = np.exp(-away / np.float32((STEPS + 1) * 0.5) - variation / np.float32(0.3))
        weights += weight
        values += weight * total / np.float32(STEPS + 1)
    spots = np.arange(4096)
    distance, angle = RADIUS * (spots + 0.5) / 4096, spots * 2.399963
    disc = (np.rint(distance * np.sin(angle)) * stride + np.rint(distance * np.cos(angle))).astype(np.int32)
    sum_of_places = np.zeros_like(here)
    for _ in range(ROUNDS):
        low = high = here
        for drawn in rng.integers(0, 4096, (SAMPLES, start.size), dtype=np.uint16):
            value = grey[start + disc[drawn]]
            low, high = np.minimum(low, value), np.maximum(high, value)
        sum_of_places += np.where(high > low, (here - low) / np.maximum(high - low, 1e-12), 0.5)
    base = values / weights
    out = base + 0.5 * (sum_of_places / ROUNDS - 0.5) + 0.5 * (here - base)
    return np.asarray(np.clip(out, 0, 1).reshape(image.shape))


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print medians and ratios of interleaved rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    volume = simulate_ct(0, diagnosis="covid", shape=(32, SIZE, SIZE)).volume
    image = np.clip((volume.array[16].astype(np.float32) + 1200) / 1800, 0, 1)
    stochastic_enhance(image)  # compiles
    difference = np.abs(vectorised(image) - stochastic_enhance(image))
    print(f"mean difference to numpy, which draws other numbers: {difference.mean():.5f} of 1")
    times: dict[str, list[float]] = {"covidct": [], "covidct, shared walks": [], "numpy": [], "Python loop, scaled": []}
    for _ in range(rounds):
        times["covidct"].append(seconds(lambda: stochastic_enhance(image)))
        times["covidct, shared walks"].append(seconds(lambda: stochastic_enhance(image, shared_walks=True)))
        times["numpy"].append(seconds(lambda: vectorised(image)))
        times["Python loop, scaled"].append(seconds(lambda: plain(image, CROP)) * SIZE**2 / CROP**2)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        ratio = statistics.median(a / b for a, b in zip(times[name], times["covidct"], strict=True))
        print(f"{name:24} {median:9.3f} s  {ratio:8.1f} x covidct")


if __name__ == "__main__":
    main()
