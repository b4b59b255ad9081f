"""Lungs of chest X-rays: an FPN trained on simulated X-rays, then masks of others on their own grid.

    python examples/06_xray_lungs.py --subjects 90 --epochs 6

Network and recipe are those of examples/configs/fpn_densenet_phantom.yaml. Prints the Dice coefficient of each new
X-ray and the share of it that the lungs cover. `covidct segment` finds them in files.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

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
    """Read the options, train, find lungs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=90, help="simulated patients, one X-ray each")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=64, help="pixels per side that the network sees")
    parser.add_argument("--out", type=Path, default=Path("xray_lungs"), help="folder of the checkpoint")
    options = parser.parse_args()
    pl.seed_everything(0, verbose=False)
    checkpoint = options.out / "xray_lungs.ckpt"
    with tempfile.TemporaryDirectory() as cache_dir:
        data = CXRDataModule(
            PhantomCXR(options.subjects, shape=(128, 128)),
            batch_size=8,
            size=options.size,
            mask_source="file",
            min_lung_area=0.0,
            test_fraction=0.0,
            train_transform=fpn_densenet_augment(),
            cache_dir=cache_dir,
        )
        trainer = pl.Trainer(
            max_epochs=options.epochs,
            accelerator="cpu",
            precision="bf16-mixed",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        task = FPNDenseNetTask(pyramid_channels=64, segmentation_channels=64, learning_rate=1e-3)
        trainer.fit(task, datamodule=data)
        print(f"validation Dice {trainer.callback_metrics['val_dice']:.3f}")
        trainer.save_checkpoint(checkpoint)

    segmenter = XRayLungSegmenter.from_checkpoint(checkpoint)
    for seed in range(UNSEEN, UNSEEN + 5):
        xray = simulate_cxr(seed, shape=(240, 200))
        found, drawn = segmenter(xray.image), xray.lung_mask > 0
        dice = 2 * np.sum((found > 0) & drawn) / (found.sum() + drawn.sum())
        print(f"patient {seed}: Dice {dice:.3f}, lungs cover {100 * lung_area_share(found):.1f} % of the image")


if __name__ == "__main__":
    main()
