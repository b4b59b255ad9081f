"""Lesions first, then the diagnosis: both stages of COVID-CT-Mask-Net on simulated slices, from random weights.

    python examples/12_mask_net.py --out mask_net
    python examples/12_mask_net.py --fast  # a trial of seconds

Stage 1 learns lesions as objects from the slices of sick subjects, stage 2 the diagnosis of a slice from the ranked
regions of stage 1, on other subjects. Prints how both do on a third cohort, a fifth as large. The recipe is that of
examples/configs/lesion_mask_rcnn_phantom.yaml and mask_net_phantom.yaml, without validation.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.optim.lr_scheduler import CosineAnnealingLR

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import PhantomLesions
from covidct.tasks import BaseTask, CovidCTMaskNetTask, LesionMaskRCNNTask

NETWORK: dict[str, Any] = {"backbone": "resnet18", "truncation": 1}  # of the light published ones
ANCHORS = (16, 32, 64, 96, 128)  # pixels of 512: simulated lesions are larger than the published anchors


def main() -> None:
    """Train both stages, print their scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("mask_net"), help="folder of both checkpoints and the cache")
    parser.add_argument("--fast", action="store_true", help="a trial: few small slices, one epoch of each stage")
    options = parser.parse_args()
    size, subjects, test_subjects = (64, 3, 3) if options.fast else (512, 260, 52)  # a third of them healthy
    epochs = {"stage1": 1, "stage2": 1} if options.fast else {"stage1": 12, "stage2": 7}
    pl.seed_everything(0, verbose=False)
    side = min(256, size)
    slices = partial(PhantomLesions, slices_per_scan=3, shape=(96, side, side))
    module = partial(CTSliceDataModule, size=size, val_fraction=0.0, cache_dir=str(options.out / "cache"))
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    quiet["limit_train_batches"] = 1 if options.fast else 1.0

    def run(task: BaseTask, name: str, train: CTSliceDataModule, settings: dict[str, Any]) -> None:
        """Train a stage, keep it and print its scores."""
        trainer = pl.Trainer(max_epochs=epochs[name], **quiet, **settings)
        trainer.fit(task, datamodule=train)
        trainer.save_checkpoint(options.out / f"{name}.ckpt")
        test = module(slices(test_subjects, seed=3), test_fraction=1.0, batch_size=train.hparams["batch_size"])
        (scores,) = trainer.test(task, datamodule=test, verbose=False)
        shown = (key for key in sorted(scores) if key.endswith(("_map", "_lesions", "_accuracy")))
        print(f"{name}:", *(f"{key} {scores[key]:.3f}" for key in shown), flush=True)

    def recipe(name: str) -> dict[str, Any]:
        return {"learning_rate": 5e-4, "lr_scheduler": partial(CosineAnnealingLR, T_max=epochs[name])}

    detector: dict[str, Any] = {**NETWORK, "anchor_sizes": [max(1, anchor * size // 512) for anchor in ANCHORS]}
    stage1 = LesionMaskRCNNTask(**detector, score_threshold=0.5, nms_threshold=0.3, **recipe("stage1"))
    sick = module(slices(subjects, lesions_only=True, seed=0), test_fraction=0.0, batch_size=2)
    run(stage1, "stage1", sick, {"gradient_clip_val": 10.0, "precision": "bf16-mixed"})

    head: dict[str, Any] = {"num_regions": 128, "features": 512, "weights": str(options.out / "stage1.ckpt")}
    stage2 = CovidCTMaskNetTask(**detector, **head, **recipe("stage2"))
    run(stage2, "stage2", module(slices(subjects, seed=1), test_fraction=0.0, batch_size=4, augment=False), {})


if __name__ == "__main__":
    main()
