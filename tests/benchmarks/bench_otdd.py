"""Label distances of data sets: against covariances and square roots per pair of classes, and the products alone.

The alternative is that of github.com/microsoft/otdd: a covariance per class, its square root by eigh, and per pair of
classes the square root of ``S1^1/2 S2 S1^1/2``. It is timed for a few pairs and scaled to all; covariances count once
per class, and their square roots once per class of the first set. All in float64, between two sets of 1,000 samples.

    python tests/benchmarks/bench_otdd.py [--rounds 3] [--threads 2] [--large]

``--large`` adds 50,176 dimensions (224 x 224 pixels), where a covariance would have 20 GB, against the matrix products
that are needed in any case; 2 GB of memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import sqrtm
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from covidct.curation import LabelDistances
from covidct.curation.label_distance import ClassGaussian

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES, TIMED_PAIRS = 1_000, 2


def classes(count: int, dimensions: int, seed: int) -> list[torch.Tensor]:
    """Samples of each class, float32, with a spectrum that falls off as those of images do."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, dimensions + 1) ** -0.5
    n = SAMPLES // count
    return [torch.randn(n, dimensions, generator=generator) * scale + 0.1 * k for k in range(count)]


def square_root(matrix: torch.Tensor) -> torch.Tensor:
    """Symmetric square root by its spectrum."""
    values, vectors = torch.linalg.eigh(matrix)
    root: torch.Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def covariance_way(first: list[torch.Tensor], second: list[torch.Tensor]) -> tuple[float, float]:
    """Seconds for all pairs, scaled from a few, and the distance of the first pair."""
    start = time.perf_counter()
    one, other = (torch.cov(samples.double().T) for samples in (first[0], second[0]))
    covariance = (time.perf_counter() - start) / 2
    start = time.perf_counter()
    root = square_root(one)
    rooting = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(TIMED_PAIRS):
        cross = square_root(root @ other @ root).trace()
    pair = (time.perf_counter() - start) / TIMED_PAIRS
    means = (first[0].double().mean(0) - second[0].double().mean(0)).square().sum()
    whole = (len(first) + len(second)) * covariance + len(first) * rooting + len(first) * len(second) * pair
    return whole, float(means + one.trace() + other.trace() - 2 * cross)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(count: int, dimensions: int, rounds: int) -> None:
    """Ratio to the covariance way, and the error of both."""
    first, second = classes(count, dimensions, 0), classes(count, dimensions, 1)
    ratios, own, singular, product = [], [], [], []
    found = other = 0.0
    for _ in range(rounds):
        own.append(seconds(lambda: LabelDistances().between(first, second)))
        found = float(LabelDistances().between(first[:1], second[:1])[0, 0])
        alternative, other = covariance_way(first, second)
        ratios.append(alternative / own[-1])
        factors = [ClassGaussian.fit(samples).factor for samples in (*first, *second)]
        product.append(seconds(lambda f=factors: [a @ b.T for a in f[:count] for b in f[count:]]))  # type: ignore[misc]
        crosses = [a @ b.T for a in factors[:count] for b in factors[count:]]
        with threadpool_limits(limits=1, user_api="openmp"):  # as the distances do
            singular.append(seconds(lambda c=crosses: [torch.linalg.svdvals(cross) for cross in c]))  # type: ignore[misc]
    whole = statistics.median(own)
    print(f"{count} classes, {dimensions} dimensions: {whole:.3f} s, {statistics.median(ratios):.0f} x as fast")
    shares = [statistics.median(part) / whole for part in (product, singular)]
    print(f"  of it products {shares[0]:.0%}, singular values {shares[1]:.0%}, the rest reading, centring, hashing")
    if count == 2:  # scipy's roots take a minute each
        truth = by_scipy(first[0], second[0])
        errors = [abs(value / truth - 1) for value in (found, other)]
        print(f"  relative error to scipy's sqrtm: {errors[0]:.1e}; of the alternative {errors[1]:.1e}")


def by_scipy(a: torch.Tensor, b: torch.Tensor) -> float:
    """The distance by scipy's square roots in float64."""
    one, two = (np.cov(samples.double().numpy(), rowvar=False) for samples in (a, b))
    root = np.real(sqrtm(one))
    cross = np.trace(np.real(sqrtm(root @ two @ root)))
    means = ((a.double().mean(0) - b.double().mean(0)) ** 2).sum()
    return float(means + np.trace(one) + np.trace(two) - 2 * cross)


def large(rounds: int) -> None:
    """224 x 224 pixels: against the products of centred samples alone."""
    first, second = classes(2, 50_176, 0), classes(2, 50_176, 1)
    ratios, single = [], []
    for _ in range(rounds):
        own = seconds(lambda: LabelDistances().between(first, second))
        ready = [[samples.double() for samples in each] for each in (first, second)]
        ratios.append(own / seconds(lambda r=ready: [a @ b.T for a in r[0] for b in r[1]]))  # type: ignore[misc]
        del ready
        single.append(own / seconds(lambda: [a @ b.T for a in first for b in second]))
    print(
        f"2 classes, 50,176 dimensions: {statistics.median(ratios):.2f} times the products in float64, "
        f"{statistics.median(single):.2f} times those in float32"
    )


def main() -> None:
    """Print medians of interleaved rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for count in (2, 10):
        report(count, 2_048, arguments.rounds)
    if arguments.large:
        large(arguments.rounds)


if __name__ == "__main__":
    main()
