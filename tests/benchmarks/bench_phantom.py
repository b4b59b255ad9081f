"""Seconds for a phantom: python tests/benchmarks/bench_phantom.py [rounds]."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

from covidct.phantom import simulate_ct, simulate_cxr

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "CT 96x128x128 normal": (simulate_ct, {}),
    "CT 96x128x128 cap": (simulate_ct, {"diagnosis": "cap"}),
    "CT 96x128x128 covid": (simulate_ct, {"diagnosis": "covid"}),
    "CT 64x64x64 covid": (simulate_ct, {"diagnosis": "covid", "shape": (64, 64, 64)}),
    "CXR 256x256 covid": (simulate_cxr, {"diagnosis": "covid"}),
}


def main() -> None:
    """Time the cases in turn and print medians."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for seed in range(rounds):
        for name, (make, arguments) in CASES.items():
            start = time.perf_counter()
            make(seed, **arguments)
            seconds[name].append(time.perf_counter() - start)
    lines = [f"{name:24s} median {statistics.median(s):6.2f} s, best {min(s):6.2f} s" for name, s in seconds.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
