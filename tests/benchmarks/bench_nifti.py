"""Reading .nii.gz and .nii against nibabel and SimpleITK; prints ratios, asserts nothing.

Run as ``python tests/benchmarks/bench_nifti.py [rounds]``. Rounds are interleaved in one process; medians.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).parents[2]))


def main(rounds: int = 3) -> None:
    """Write a scan of 300 x 512 x 512, read it in turn, and print."""
    nibabel: Any = importlib.import_module("nibabel")  # the peers; their methods have no types
    sitk: Any = importlib.import_module("SimpleITK")

    from covidct.io.nifti import read_nifti
    from tests.benchmarks.scans import large_scan

    print(f"{rounds} interleaved rounds, warm files")
    volume = large_scan()
    with tempfile.TemporaryDirectory() as name:
        for file in (Path(name) / "scan.nii.gz", Path(name) / "other.nii"):
            nibabel.save(nibabel.Nifti1Image(volume.array.T, np.diag([-1, -1, 1, 1]) @ volume.affine), file)
            tasks: dict[str, Callable[[Path], object]] = {
                "covidct": lambda path: read_nifti(path).array,
                "nibabel": lambda path: np.array(nibabel.load(path).dataobj),
                "SimpleITK": lambda path: sitk.GetArrayFromImage(sitk.ReadImage(str(path))),
            }
            seconds: dict[str, list[float]] = {task: [] for task in tasks}
            for _ in range(rounds + 1):
                for task, run in tasks.items():
                    start = time.perf_counter()
                    run(file)
                    seconds[task].append(time.perf_counter() - start)
            median = {task: statistics.median(values[1:]) for task, values in seconds.items()}
            print(
                f"{file.suffixes[-1]}: {file.stat().st_size / 2**20:.0f} MiB of {volume.array.nbytes / 2**20:.0f} MiB"
            )
            for task, value in median.items():
                print(f"  {task:10} {value:6.3f} s  {value / median['covidct']:5.2f} x of covidct")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
