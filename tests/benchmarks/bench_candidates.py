"""Candidates for duplicates among many thumbnails: processor time, memory and recall, against all products.

The thumbnails are phantom slices, moved, scaled, turned a little and covered with smooth noise, each its own way; some
are cropped by 5 % of another one's width and height. The alternative multiplies all descriptors of all views in full;
it runs on a part of the rows and is scaled up.

    python tests/benchmarks/bench_candidates.py [--pictures 20000] [--turns]

Ends with 1 when a planted copy is missed, memory grows by 2 GiB beyond the thumbnails, or the ratio is below 2.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import cv2
import numpy as np

from covidct.curation.fingerprints import Fingerprint, _descriptors, _views, propose_pairs
from covidct.functional import window_hu
from covidct.phantom import simulate_ct

SIDE, PART = 64, 2048
LEAST, MOST_BYTES = 2.0, 2 * 2**30


def chests() -> list[np.ndarray]:
    """Slices of six phantoms in display values."""
    scans = [window_hu(simulate_ct(seed, shape=(16, 96, 96)).volume.array, -1250, 250) for seed in range(6)]
    return [np.asarray(255 * plane, np.float32) for scan in scans for plane in scan[3:13:2]]


def picture(base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A chest of its own: (80, 80), of which thumbnails are made."""
    turn: Any = cv2.getRotationMatrix2D((48, 48), float(rng.uniform(-12, 12)), float(rng.uniform(0.7, 0.95)))
    turn[:, 2] += rng.uniform(-8, 8, 2) - 8
    moved = np.asarray(cv2.warpAffine(base, turn, (80, 80), borderMode=cv2.BORDER_REPLICATE))
    noise = cv2.GaussianBlur(rng.normal(size=(80, 80)).astype(np.float32), (0, 0), float(rng.uniform(2, 5)))
    return np.asarray((moved + 40 * noise / noise.std()).clip(0, 255), np.float32)


def thumb(image: np.ndarray) -> np.ndarray:
    """64 x 64 pixels."""
    return np.asarray(np.rint(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)), np.uint8)


def cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Without 4 of 80 rows and columns, divided between the sides by chance."""
    top, left = rng.integers(0, 5, 2)
    return np.ascontiguousarray(image[top : top + 76, left : left + 76])


def main() -> int:
    """Print seconds, ratio, candidates, copies missed and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--turns", action="store_true", help="the eight ways of lying, too")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    bases, count, copies = chests(), args.pictures, args.pictures // 100
    originals = [picture(bases[k % len(bases)], rng) for k in range(copies)]
    thumbs = [thumb(picture(bases[k % len(bases)], rng)) for k in range(count - 2 * copies)]
    thumbs += [thumb(image) for image in originals] + [thumb(cropped(image, rng)) for image in originals]
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64, endpoint=False).tolist()  # they find nothing here
    prints = [Fingerprint(b"", value, one) for value, one in zip(hashes, thumbs, strict=True)]
    propose_pairs(prints[:100], max_distance=4)  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.process_time()
    pairs, notes = propose_pairs(prints, max_distance=4, turns=tuple(range(8)) if args.turns else (0,))
    ours = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    found = set(map(tuple, pairs.tolist()))
    missed = sum((count - 2 * copies + k, count - copies + k) not in found for k in range(copies))

    descriptors = _descriptors(thumbs)
    start = time.process_time()
    for view in _views(thumbs[:PART], 0, descriptors[:PART]):
        for first in range(0, count, PART):
            np.nonzero(view @ descriptors[first : first + PART].T >= 0.93)
    full = (time.process_time() - start) * count / min(PART, count) * (8 if args.turns else 1)
    print(f"{count} thumbnails: {len(pairs)} candidates, {missed} of {copies} cropped copies missed, {ours:.1f} s of")
    print(f"processor time, {memory / 2**20:.0f} MiB more memory; all products {full:.0f} s, ratio {full / ours:.1f}")
    print(*notes)
    return int(missed > 0 or memory > MOST_BYTES or full / ours < LEAST)


if __name__ == "__main__":
    raise SystemExit(main())
