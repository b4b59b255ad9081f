"""What all callbacks together add to a training step; prints, asserts nothing.

    python tests/benchmarks/bench_callbacks.py [steps] [side]

MaskedGAPResNet (ResNet-50) on phantom volumes of ``side`` pixels, the same steps with and without the callbacks of
``docs/reference/training.md``, in turn, three times each, all within one epoch; the least time per step counts. What is
written at the end of an epoch (checkpoints, reports, pictures) is left out. The machine must be idle but for this, and
pinned (``taskset -c 0``) to compare.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time

import pytorch_lightning as pl
import torch

from covidct.callbacks import (
    Checkpoints,
    FigureLogger,
    GradCAMScale,
    MetricsReport,
    NonFiniteGuard,
    PrecisionMonitor,
    PredictionWriter,
    RunManifest,
    ThroughputMonitor,
)
from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.tasks import MaskedGAPResNetTask

ROUNDS, FIRST = 3, 3


class Watch(pl.Callback):
    """Time from the end of the first steps to the end of the last."""

    def __init__(self) -> None:
        self.start, self.steps, self.seconds = 0.0, 0, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self.steps += 1
        if self.steps == FIRST:
            self.start = time.perf_counter()
        self.seconds = (time.perf_counter() - self.start) / max(self.steps - FIRST, 1)


def step(data: CTVolumeDataModule, steps: int, callbacks: list[pl.Callback], folder: str) -> float:
    """Seconds per step."""
    watch = Watch()
    torch.manual_seed(0)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps + FIRST,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=any(isinstance(one, Checkpoints) for one in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[*callbacks, watch],
    )
    trainer.fit(MaskedGAPResNetTask(num_classes=3, backbone="resnet50", slice_size=None), datamodule=data)
    return watch.seconds


def main(steps: int, side: int) -> None:
    """Measure and print."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        dataset = PhantomCTVolumes(3 * (steps + FIRST + 1), shape=(16, side, side))
        data = CTVolumeDataModule(
            dataset, size=side, grid="slices", mask_source="file", batch_size=2, test_fraction=0.0, cache_dir=folder
        )
        data.prepare_data()
        for _ in range(ROUNDS):
            times["without"].append(step(data, steps, [], folder))
            every = [
                Checkpoints(),
                GradCAMScale(),
                FigureLogger(),
                MetricsReport(),
                PredictionWriter(),
                NonFiniteGuard(),
                PrecisionMonitor(),
                ThroughputMonitor(),
                RunManifest(),
            ]
            times["with"].append(step(data, steps, every, folder))
    least = {name: min(found) for name, found in times.items()}
    for name, seconds in least.items():
        print(f"{name:8s} {1e3 * seconds:9.2f} ms a step")
    print(f"ratio {least['with'] / least['without']:.4f}")


if __name__ == "__main__":
    arguments = [int(word) for word in sys.argv[1:]]
    main(*(arguments + [10, 64][len(arguments) :]))
