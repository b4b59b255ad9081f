"""Background of CT slices: a small 2-D U-Net trained on phantoms, and what it leaves of slices beside morphology.

    python examples/09_slice_unet.py --out slice_unet
    python examples/09_slice_unet.py --fast  # a trial of seconds

The gated ensemble's document removes the background by a U-Net in addition to threshold and morphology. Network and
recipe are those of examples/configs/unet2d_phantom.yaml; minutes on 2 CPU cores. Prints the Dice coefficient of both
ways on slices of new phantoms, and the share of a slice that is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import PhantomLungs, SlicesOfVolumes
from covidct.functional import lung_mask_2d
from covidct.models import SliceLungSegmenter
from covidct.phantom import simulate_varied_ct
from covidct.tasks import UNet2dTask

UNSEEN = 1_000_000  # seeds of new bodies; a cohort's own are digests of 32 bits


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice coefficient of all slices of a scan together."""
    return float(2 * np.sum(found & truth) / max(found.sum() + truth.sum(), 1))


def main() -> None:
    """Train, then find the lungs of new slices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("slice_unet"), help="folder of the checkpoint and the cache")
    parser.add_argument("--fast", action="store_true", help="a trial: few coarse slices, one epoch")
    options = parser.parse_args()
    scans, detail, size, new, epochs = (3, 0.3, 32, 1, 1) if options.fast else (60, 1.0, 96, 4, 8)
    pl.seed_everything(0, verbose=False)
    data = CTSliceDataModule(
        SlicesOfVolumes(PhantomLungs(scans, detail=detail), slices_per_scan=4 if options.fast else 12),
        batch_size=16,
        size=size,
        mask_source="file",
        val_fraction=0.0,
        test_fraction=0.0,
        cache_dir=str(options.out / "cache"),
    )
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    trainer = pl.Trainer(max_epochs=epochs, **quiet)
    trainer.fit(UNet2dTask(channels=[8, 16, 32, 64, 128], learning_rate=0.003), datamodule=data)
    trainer.save_checkpoint(checkpoint := options.out / "slice_unet.ckpt")

    segmenter = SliceLungSegmenter.from_checkpoint(checkpoint)
    for seed in range(UNSEEN, UNSEEN + new):
        made = simulate_varied_ct(seed, detail=detail)
        for name, find in (("U-Net", segmenter), ("morphology", lung_mask_2d)):
            lungs = find(made.volume.array) > 0  # (D, H, W); covidct.functional.remove_background blanks the rest
            print(f"scan {seed}, {name}: Dice {dice(lungs, made.lung_mask > 0):.3f}, {100 * lungs.mean():.1f} % kept")


if __name__ == "__main__":
    main()
