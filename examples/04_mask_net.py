"""Lesions first, then the diagnosis: both stages of COVID-CT-Mask-Net on simulated slices, from random weights.

    python examples/04_mask_net.py --subjects 260 --epochs 12 --epochs2 7

Stage 1 learns lesions as objects from the slices of sick subjects, stage 2 the diagnosis of a slice from the ranked
regions of stage 1, on other subjects. Prints how both do on a third cohort, a fifth as large. The recipe is that of
examples/configs/lesion_mask_rcnn_phantom.yaml and mask_net_phantom.yaml, without validation.
"""

from __future__ import annotations

import argparse
import tempfile
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


def slices(options: argparse.Namespace, cohort: int, *, sick: bool = False) -> PhantomLesions:
    """Slices of the subjects of stage 1 (cohort 0), of stage 2 (1), or of the test (3)."""
    subjects = max(3, options.subjects // 5) if cohort == 3 else options.subjects
    side = min(256, options.size)
    return PhantomLesions(subjects, slices_per_scan=3, shape=(96, side, side), lesions_only=sick, seed=cohort)


def main() -> None:
    """Read the options, train both stages, print their scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=260, help="of each stage, a third of them healthy")
    parser.add_argument("--epochs", type=int, default=12, help="of stage 1")
    parser.add_argument("--epochs2", type=int, default=7, help="of stage 2")
    parser.add_argument("--size", type=int, default=512, help="pixels per side")
    parser.add_argument("--out", type=Path, default=Path("mask_net"), help="folder of both checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(0, verbose=False)
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    careful: Any = {"gradient_clip_val": 10.0, "precision": "bf16-mixed"}  # as the configuration of stage 1 has it

    def run(task: BaseTask, *, epochs: int, batch: int, cohort: int, name: str) -> None:
        """Train a stage, keep it and print its scores."""
        module = partial(CTSliceDataModule, batch_size=batch, size=options.size, cache_dir=cache_dir, val_fraction=0.0)
        trainer = pl.Trainer(max_epochs=epochs, **quiet, **(careful if cohort == 0 else {}))
        train = slices(options, cohort, sick=cohort == 0)
        trainer.fit(task, datamodule=module(train, test_fraction=0.0, augment=cohort == 0))
        trainer.save_checkpoint(options.out / f"{name}.ckpt")
        (scores,) = trainer.test(task, datamodule=module(slices(options, 3), test_fraction=1.0), verbose=False)
        shown = (
            f"{key} {scores[key]:.3f}" for key in sorted(scores) if key.endswith(("_map", "_lesions", "_accuracy"))
        )
        print(f"{name}:", *shown, flush=True)

    def recipe(epochs: int) -> dict[str, Any]:
        return {"learning_rate": 5e-4, "lr_scheduler": partial(CosineAnnealingLR, T_max=epochs)}

    with tempfile.TemporaryDirectory() as cache_dir:
        detector: dict[str, Any] = {**NETWORK, "anchor_sizes": [max(1, size * options.size // 512) for size in ANCHORS]}
        stage1 = LesionMaskRCNNTask(**detector, score_threshold=0.5, nms_threshold=0.3, **recipe(options.epochs))
        run(stage1, epochs=options.epochs, batch=2, cohort=0, name="stage1")
        weights = str(options.out / "stage1.ckpt")
        stage2 = CovidCTMaskNetTask(
            **detector, num_regions=128, features=512, weights=weights, **recipe(options.epochs2)
        )
        run(stage2, epochs=options.epochs2, batch=4, cohort=1, name="stage2")


if __name__ == "__main__":
    main()
