"""Reading DICOM against SimpleITK's series reader; prints ratios, asserts nothing.

Run as ``python tests/benchmarks/bench_reading.py [rounds]``. Rounds are interleaved in one process; medians.
"""

from __future__ import annotations

import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).parents[2]))


def main(rounds: int = 5) -> None:
    """Write a series, read it in turn, and print."""
    SimpleITK: Any = importlib.import_module("SimpleITK")  # the peer; it has no types

    from covidct.io import find_series, read_scan
    from tests.fakes.dicom import body, write_series

    print(f"SimpleITK {SimpleITK.Version_VersionString()}, {rounds} interleaved rounds, warm files")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "300"
        hu = np.tile(body((1, 512, 512)), (300, 1, 1))
        write_series(folder, hu, spacing=(1.0, 0.7, 0.7))

        def by_simpleitk() -> object:
            reader = SimpleITK.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
            return SimpleITK.GetArrayFromImage(reader.Execute())

        def reader_only() -> object:
            reader = SimpleITK.ImageSeriesReader()
            reader.SetFileNames([str(folder / f"slice{k:03d}.dcm") for k in range(300)])
            return reader.Execute()

        tasks: dict[str, Callable[[], object]] = {
            "covidct.read_scan": lambda: read_scan(folder),
            "SimpleITK series reader with its sorting": by_simpleitk,
            "SimpleITK series reader, names given": reader_only,
            "covidct.find_series": lambda: find_series(folder),
        }
        seconds: dict[str, list[float]] = {task: [] for task in tasks}
        for _ in range(rounds + 1):
            for task, run in tasks.items():
                start = time.perf_counter()
                run()
                seconds[task].append(time.perf_counter() - start)
        median = {task: statistics.median(values[1:]) for task, values in seconds.items()}
        own = median["covidct.read_scan"]
        for task, value in median.items():
            print(f"  {task:42} {value:7.3f} s   x{value / own:5.2f}")
        print(f"  headers per second: {300 / median['covidct.find_series']:,.0f}")
        long = Path(name) / "1000"
        write_series(long, np.tile(hu[:1], (1000, 1, 1)), spacing=(0.5, 0.7, 0.7))
        for case in ("axial", "sagittal"):
            if case == "sagittal":
                write_series(long, np.tile(hu[:1], (1000, 1, 1)), orientation=(0, 1, 0, 0, 0, -1))
            print(f"  {case} 512 x 512 x 1000: extra peak memory {_extra_peak(long):.2f} x the int16 volume")


def _extra_peak(folder: Path) -> float:
    """Peak memory of a fresh process that reads the series, over its imports, in volumes of int16."""
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from covidct.io import read_scan
import covidct.io.dicom, pydicom, numpy, scipy.ndimage

def peak():  # ru_maxrss would start at the parent's
    return next(int(s.split()[1]) for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))

before = peak()
volume = read_scan({str(folder)!r})
print((peak() - before) * 1024 / (volume.array.size * 2))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(out.stdout)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
