"""Lesions first, then the diagnosis: both stages of COVID-CT-Mask-Net on simulated slices, from random weights.

    python examples/04_mask_net.py --subjects 150 --epochs 24 --epochs2 15

Stage 1 learns lesions as objects from the slices of sick subjects, stage 2 the diagnosis of a slice from the ranked
regions of stage 1. Prints how both do on slices of other subjects, a fifth as many. A slice without lesions and without
detections counts 1 in the reference mAP, so that healthy subjects lift it: it is printed with and without them.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import PhantomLesions
from covidct.tasks import BaseTask, CovidCTMaskNetTask, LesionMaskRCNNTask

NETWORK: dict[str, Any] = {"backbone": "resnet18", "truncation": 1}  # of the light published ones
ANCHORS = (16, 32, 64, 96, 128)  # pixels of 512: simulated lesions are larger than the published anchors


def slices(options: argparse.Namespace, *, test: bool = False, sick: bool = False) -> PhantomLesions:
    """Slices of the subjects to train on, or of others for the test."""
    subjects = max(3, options.subjects // 5) if test else options.subjects
    side = min(256, options.size)
    return PhantomLesions(subjects, slices_per_scan=3, shape=(96, side, side), lesions_only=sick, seed=int(test))


def main() -> None:
    """Read the options, train both stages, print their scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=150, help="to train on, a third of them healthy")
    parser.add_argument("--epochs", type=int, default=24, help="of stage 1")
    parser.add_argument("--epochs2", type=int, default=15, help="of stage 2")
    parser.add_argument("--size", type=int, default=512, help="pixels per side")
    parser.add_argument("--out", type=Path, default=Path("mask_net"), help="folder of both checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(0, verbose=False)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    clipped: Any = {**quiet, "gradient_clip_val": 10.0}

    def run(task: BaseTask, *, epochs: int, batch: int, name: str, detector: bool = False) -> None:
        """Train a stage, keep it and print its scores."""
        module = partial(CTSliceDataModule, batch_size=batch, size=options.size, cache_dir=cache_dir, val_fraction=0.0)
        trainer = pl.Trainer(max_epochs=epochs, **clipped)
        trainer.fit(task, datamodule=module(slices(options, sick=detector), test_fraction=0.0))
        trainer.save_checkpoint(options.out / f"{name}.ckpt")
        for sick in (False, True) if detector else (False,):
            data = module(slices(options, test=True, sick=sick), test_fraction=1.0)
            (scores,) = trainer.test(task, datamodule=data, verbose=False)
            shown = (f"{key} {scores[key]:.3f}" for key in sorted(scores) if key.endswith(("_map", "_accuracy")))
            print(f"{name}, slices of {'sick' if sick else 'all'} subjects:", *shown, flush=True)

    with tempfile.TemporaryDirectory() as cache_dir:
        cosine = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=options.epochs)
        anchors = [max(1, size * options.size // 512) for size in ANCHORS]
        stage1 = LesionMaskRCNNTask(**NETWORK, anchor_sizes=anchors, learning_rate=5e-4, lr_scheduler=cosine)
        run(stage1, epochs=options.epochs, batch=2, name="stage1", detector=True)
        weights = str(options.out / "stage1.ckpt")
        stage2 = CovidCTMaskNetTask(**NETWORK, num_regions=128, features=512, weights=weights, learning_rate=1e-3)
        run(stage2, epochs=options.epochs2, batch=4, name="stage2")


if __name__ == "__main__":
    main()
