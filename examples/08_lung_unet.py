"""Lungs of CT scans: a small 3-D U-Net trained on phantoms alone, scored beside the classical method.

    python examples/08_lung_unet.py --manifest scans.csv --out lung_unet
    python examples/08_lung_unet.py --fast  # a trial of seconds

The table has the columns path, label (may be empty), subject and mask (1 right, 2 left lung). Without one, new phantoms
are scored. 20 to 30 minutes on 2 CPU cores. The recipe is that of examples/configs/unet3d_phantom.yaml; triage, segment
and all data modules take the checkpoint as ``lung_checkpoint``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import BaseDataset, ManifestVolumes, PhantomLungs
from covidct.functional import segment_lungs
from covidct.models import LungSegmenter
from covidct.tasks import UNet3dTask
from covidct.transforms import segmentation_augment
from covidct.volume import Volume


def train(scans: int, *, size: int, detail: float, epochs: int, out: Path) -> Path:
    """Train and give the checkpoint."""
    pl.seed_everything(0, verbose=False)
    data = CTVolumeDataModule(
        PhantomLungs(scans, detail=detail),
        size=size,
        mask_source="file",
        val_fraction=0.0,
        test_fraction=0.0,
        train_transform=segmentation_augment(),
        cache_dir=str(out / "cache"),
    )
    task = UNet3dTask(channels=[8, 16, 32, 64], norm="instance", learning_rate=0.003)
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    trainer = pl.Trainer(max_epochs=epochs, precision="bf16-mixed", gradient_clip_val=12.0, **quiet)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(path := out / "lung_unet.ckpt")
    return path


def dice(found: np.ndarray, truth: np.ndarray) -> list[float]:
    """Dice of the right and the left lung."""
    pairs = [(found == side, truth == side) for side in (1, 2)]
    return [float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1)) for a, b in pairs]


def main() -> None:
    """Train, or take a checkpoint, and print Dice per lung."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", help="table of real scans with masks")
    parser.add_argument("--checkpoint", type=Path, help="score this one instead of training")
    parser.add_argument("--out", type=Path, default=Path("lung_unet"), help="folder of the checkpoint and the cache")
    parser.add_argument("--fast", action="store_true", help="a trial: two coarse scans, one epoch")
    options = parser.parse_args()
    scans, size, detail, epochs = (2, 16, 0.15, 1) if options.fast else (240, 80, 1.0, 6)
    checkpoint = options.checkpoint or train(scans, size=size, detail=detail, epochs=epochs, out=options.out)
    segmenter = LungSegmenter.from_checkpoint(checkpoint)
    phantoms = PhantomLungs(2 if options.fast else 4, detail=detail, seed=1)
    cohort: BaseDataset = ManifestVolumes(options.manifest) if options.manifest else phantoms
    print(f"{'scan':24} {'U-Net right':>12} {'left':>6} {'classical right':>16} {'left':>6}")
    for record in cohort.records:
        raw = cohort.load(record.source)
        if raw.lung_mask is None or not isinstance(raw.scan, Volume):
            raise SystemExit(f"{record.id} has no lung mask: give the column mask.")
        values = dice(segmenter(raw.scan), raw.lung_mask)
        values += dice(segment_lungs(raw.scan.array, raw.scan.spacing), raw.lung_mask)
        print(f"{record.id:24} {values[0]:12.3f} {values[1]:6.3f} {values[2]:16.3f} {values[3]:6.3f}")


if __name__ == "__main__":
    main()
