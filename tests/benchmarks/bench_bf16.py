"""Steps of every task in bf16 on hard batches: time, last loss, and whether all numbers stayed finite.

``python -m tests.benchmarks.bench_bf16 [steps] [task ...]``
"""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch

from covidct import tasks
from tests.tasks.conftest import CASES
from tests.tasks.test_bf16 import train_in_bf16


def quiet_trainer(**changes: Any) -> pl.Trainer:  # noqa: ANN401
    quiet: Any = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "logger"), False)
    return pl.Trainer(accelerator="cpu", devices=1, max_epochs=1, **quiet, **changes)


def main(steps: int, names: list[str]) -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {steps} steps of two samples")
    for name in names or sorted(CASES):
        torch.manual_seed(0)
        case = CASES[name]
        pad = {"pad": True} if name == "UNet3dTask" else {}
        task = getattr(tasks, name)(**{**case.arguments, **pad})
        began = time.perf_counter()
        watch = train_in_bf16(task, case, quiet_trainer, steps)
        seconds = time.perf_counter() - began
        finite = torch.tensor(watch.losses).isfinite().all() and not watch.lost
        print(
            f"{name:22} {seconds:7.1f} s, loss {watch.losses[0]:.3f} -> {watch.losses[-1]:.3f}, finite: {bool(finite)}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, sys.argv[2:])
