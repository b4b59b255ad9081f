"""Exploratory analysis of 1,000 and 10,000 slices: peak memory, and its rate against a loop that decodes alone.

Run as ``python tests/benchmarks/bench_eda.py [slices ...]``. Each pass is a fresh process, in which the loop is timed
just before. Prints, asserts nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

_FILES = 250  # distinct pictures; a cohort lists them again and again, as other patients
_CODE = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
import cv2, numpy as np, sklearn.linear_model, sklearn.model_selection, skimage.filters
from covidct.curation import Entry, cohort_statistics, read_stack
from covidct.curation.shortcuts import shortcut_probes

files = sorted(Path({folder!r}).glob("*.png"))
count, probes = {count}, {probes}
entries = [Entry(k + 1, files[k % len(files)], ("covid", "normal", "cap")[k % 3], f"p{{k // 4}}") for k in range(count)]

def peak():
    return next(int(s.split()[1]) for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))

cohort_statistics(entries[:60], probes=probes, resamples=20)  # imports, threads, buffers
base = peak()
start = time.perf_counter()
for entry in entries[:1000]:
    read_stack(entry)
loop = min(count, 1000) / (time.perf_counter() - start)
start = time.perf_counter()
found = cohort_statistics(entries, probes=probes)
rate = count / (time.perf_counter() - start)
assert found.counts()[()].scans == count
print(f"{{(peak() - base) / 1024:.1f}} {{peak() / 1024:.0f}} {{rate:.0f}} {{loop:.0f}}")
"""


def main(counts: tuple[int, ...] = (1_000, 10_000)) -> None:
    """Write pictures, run the passes, and print."""
    import cv2

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    with tempfile.TemporaryDirectory() as name:
        for number in range(_FILES):
            disc = ((y - 256) / rng.uniform(150, 220)) ** 2 + ((x - 256) / rng.uniform(180, 240)) ** 2 < 1
            image = rng.normal(30, 8, (512, 512)) + disc * rng.uniform(60, 180)
            cv2.imwrite(str(Path(name) / f"{number:03d}.png"), np.clip(image, 0, 255).astype(np.uint8))
        for probes in (False, True):
            print(f"slices of 512 x 512, {'with' if probes else 'without'} probes of shortcuts")
            for count in counts:
                root = str(Path(__file__).parents[2])
                code = _CODE.format(root=root, folder=name, count=count, probes=probes)
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
                added, peak, rate, loop = map(float, done.stdout.split())
                print(
                    f"  {count:6d}: peak {peak:.0f} MiB, {added:.1f} over a pass of 60; {rate:.0f} slices/s, "
                    f"{rate / loop:.2f} of the loop that decodes alone ({loop:.0f}/s)"
                )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or (1_000, 10_000))
