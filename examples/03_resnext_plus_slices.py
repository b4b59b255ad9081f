"""Volume labels in, slice findings out: ResNeXt+ with a small trunk on simulated scans, from random weights.

    python examples/03_resnext_plus_slices.py --subjects 150 --epochs 15 --seeds 0 1 2

For each seed a cohort of its own is simulated, split by subject and trained on its volume labels; the slice labels of
the simulation are looked at in the test alone. Prints the AUROC of volumes and of slices on held-out subjects.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import pytorch_lightning as pl

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.tasks import ResNeXtPlusTask

CLASSES: dict[str, str | dict[str, str]] = {
    "pneumonia": {"normal": "normal", "cap": "pneumonia", "covid": "pneumonia"},
    "covid": "covid_vs_rest",
}


def train_and_test(options: argparse.Namespace, seed: int, cache_dir: str) -> dict[str, float]:
    """Train one network and score it on held-out subjects."""
    pl.seed_everything(seed, verbose=False)
    side = options.size
    data = CTVolumeDataModule(
        PhantomCTVolumes(options.subjects, shape=(options.depth, side, side), classes=CLASSES[options.task], seed=seed),
        batch_size=options.batch_size,
        window=(-1200.0, 600.0),
        size=side,
        grid="slices",
        mask_source="file",
        val_fraction=0.0,
        test_fraction=0.3,
        seed=seed,
        balanced_sampling=True,
        augment=False,
        max_slices=options.slices,
        cache_dir=cache_dir,
    )
    task = ResNeXtPlusTask(
        backbone=options.backbone,
        variant=options.variant,
        slice_size=side,
        lstm_std=options.lstm_std,
        learning_rate=options.rate / 10,
        max_learning_rate=options.rate,
        epochs_up=options.epochs / 2,
    )
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=options.epochs, accelerator="auto", enable_progress_bar=False, **quiet)
    trainer.fit(task, datamodule=data)
    (scores,) = trainer.test(task, datamodule=data, verbose=False)
    return dict(scores)


def main() -> None:
    """Read the options, run all seeds, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--subjects", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--depth", type=int, default=32, help="slices of a scan")
    parser.add_argument("--slices", type=int, default=24, help="slices drawn of a scan in training")
    parser.add_argument("--size", type=int, default=64, help="pixels per side")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--backbone", default="resnet10")
    parser.add_argument("--variant", default="proposed", help="or N-SCA, N-SLA, N-MSCA")
    parser.add_argument("--task", choices=list(CLASSES), default="pneumonia")
    parser.add_argument("--lstm-std", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate of the cycle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache_dir:
        for seed in options.seeds:
            scores = train_and_test(options, seed, cache_dir)
            found = "  ".join(f"{key} {scores[key]:.3f}" for key in sorted(scores) if key.endswith(("auroc", "loss")))
            print(f"seed {seed}  {found}", flush=True)


if __name__ == "__main__":
    main()
