"""Lungs of chest X-rays: an FPN trained on simulated X-rays, then masks of others on their own grid.

    python examples/13_xray_lungs.py --out xray_lungs
    python examples/13_xray_lungs.py --fast  # a trial of seconds

Network and recipe are those of examples/configs/fpn_densenet_phantom.yaml. Prints the Dice coefficient of each new
X-ray and the share of it that the lungs cover. ``covidct segment`` finds them in files, and data modules take the
checkpoint as ``lung_checkpoint``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from covidct.datamodules import CXRDataModule
from covidct.datasets import PhantomCXR
from covidct.functional import lung_area_share
from covidct.models import XRayLungSegmenter
from covidct.phantom import simulate_cxr
from covidct.tasks import FPNDenseNetTask
from covidct.transforms import fpn_densenet_augment

UNSEEN = 1_000_000  # seeds of new patients; a cohort's own are digests of 32 bits


def main() -> None:
    """Train, then find lungs in new X-rays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("xray_lungs"), help="folder of the checkpoint and the cache")
    parser.add_argument("--fast", action="store_true", help="a trial: few X-rays, one epoch")
    options = parser.parse_args()
    subjects, side, size, new, epochs = (6, 64, 32, 1, 1) if options.fast else (90, 128, 64, 5, 6)
    pl.seed_everything(0, verbose=False)
    data = CXRDataModule(
        PhantomCXR(subjects, shape=(side, side)),
        batch_size=8,
        size=size,
        mask_source="file",
        min_lung_area=0.0,  # a small mask is no fault of its image
        test_fraction=0.0,
        train_transform=fpn_densenet_augment(),
        cache_dir=str(options.out / "cache"),
    )
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    trainer = pl.Trainer(max_epochs=epochs, precision="bf16-mixed", **quiet)
    task = FPNDenseNetTask(pyramid_channels=64, segmentation_channels=64, learning_rate=1e-3)
    trainer.fit(task, datamodule=data)
    print(f"validation Dice {trainer.callback_metrics['val_dice']:.3f}")
    trainer.save_checkpoint(checkpoint := options.out / "xray_lungs.ckpt")

    segmenter = XRayLungSegmenter.from_checkpoint(checkpoint)
    for seed in range(UNSEEN, UNSEEN + new):
        xray = simulate_cxr(seed, shape=(240, 200))
        found, drawn = segmenter(xray.image), xray.lung_mask > 0
        dice = 2 * np.sum((found > 0) & drawn) / (found.sum() + drawn.sum())
        print(f"patient {seed}: Dice {dice:.3f}, lungs cover {100 * lung_area_share(found):.1f} % of the image")


if __name__ == "__main__":
    main()
