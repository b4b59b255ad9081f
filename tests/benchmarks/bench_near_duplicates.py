"""Near duplicates among 100,000 hashes: covidct against two loops over ImageHash, in one run, with its memory.

The loops run on a part and are scaled up by the number of pairs.

    python tests/benchmarks/bench_near_duplicates.py [--hashes 100000] [--distance 6] [--loop 400]

Ends with 1 when a planted pair is missed, the part differs from the loops, memory grows by 2 GiB, or the ratio is
below 500.
"""

from __future__ import annotations

import argparse
import resource
import time

import imagehash
import numpy as np

from covidct.curation import near_duplicates

LEAST, MOST_BYTES = 500, 2 * 2**30


def main() -> int:
    """Print seconds, ratio, pairs and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hashes", type=int, default=100_000)
    parser.add_argument("--distance", type=int, default=6)
    parser.add_argument("--loop", type=int, default=400)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, args.hashes, dtype=np.uint64, endpoint=False)
    # chests are alike: half of the bits of every hash are those of one of 50 kinds
    kinds = rng.integers(0, 2**64, 50, dtype=np.uint64, endpoint=False)
    common = np.uint64(0x5555555555555555)
    hashes = (hashes & ~common) | (kinds[rng.integers(0, 50, args.hashes)] & common)
    planted = rng.permutation(args.hashes)[: args.hashes // 50].reshape(-1, 2)
    for one, other in planted:
        bits = rng.choice(64, args.distance, replace=False)
        hashes[other] = hashes[one] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64))

    near_duplicates(hashes[:2])  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    pairs, _ = near_duplicates(hashes, max_distance=args.distance)
    ours = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before

    part = [imagehash.hex_to_hash(f"{value:016x}") for value in hashes[: args.loop].tolist()]
    start = time.perf_counter()
    expected = {(i, j) for i in range(args.loop) for j in range(i + 1, args.loop) if part[i] - part[j] <= args.distance}
    loop = (time.perf_counter() - start) * (args.hashes * (args.hashes - 1)) / (args.loop * (args.loop - 1))

    found = set(map(tuple, pairs.tolist()))
    missed = sum((min(pair), max(pair)) not in found for pair in planted.tolist())
    same = {pair for pair in found if pair[1] < args.loop} == expected
    print(f"{args.hashes} hashes, distance {args.distance}: {len(pairs)} pairs in {ours:.2f} s,", end=" ")
    print(f"{memory / 2**20:.0f} MiB more memory, {missed} of {len(planted)} planted pairs missed")
    print(f"loops over ImageHash, scaled: {loop:.0f} s, ratio {loop / ours:.0f} (at least {LEAST}), same pairs: {same}")
    return int(missed > 0 or not same or memory > MOST_BYTES or loop / ours < LEAST)


if __name__ == "__main__":
    raise SystemExit(main())
