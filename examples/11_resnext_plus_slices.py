"""Volume labels in, slice findings out: ResNeXt+ with a small trunk on simulated scans, from random weights.

    python examples/11_resnext_plus_slices.py --out resnext_plus
    python examples/11_resnext_plus_slices.py --fast  # a trial of seconds

For each seed a cohort of its own is simulated, split by subject and trained on its volume labels (COVID-19 against the
rest); the slice labels of the simulation are looked at in the test alone. Prints the AUROC of volumes and of slices on
held-out subjects. Shares of attention sum to one in every scan, sick or healthy, so slices of all scans are ranked by
N x share in scans predicted positive (0 in the others), and once more among the scans with true slices alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from monai.transforms import RandFlipd

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.tasks import ResNeXtPlusTask
from covidct.transforms import Augment


def train_and_test(seed: int, *, subjects: int, depth: int, size: int, epochs: int, out: Path) -> dict[str, float]:
    """Train one network and score it on held-out subjects."""
    pl.seed_everything(seed, verbose=False)
    data = CTVolumeDataModule(
        PhantomCTVolumes(subjects, shape=(depth, size, size), classes="covid_vs_rest", seed=seed),
        batch_size=4,
        window=(-1200.0, 600.0),
        size=size,
        grid="slices",
        mask_source="file",
        masking="lungs",  # what lies outside the lungs would take a far longer training to be seen through
        val_fraction=0.0,
        test_fraction=0.3,
        seed=seed,
        balanced_sampling=True,
        train_transform=Augment(RandFlipd(("image", "lung_mask"), prob=0.5, spatial_axis=2)),
        max_slices=depth // 2,  # drawn of each scan in training
        cache_dir=str(out / "cache"),
    )
    task = ResNeXtPlusTask(
        backbone="resnet10",
        slice_size=size,
        learning_rate=5e-5,
        max_learning_rate=5e-4,  # higher than published: the weights are random
        epochs_up=epochs / 2,
    )
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    trainer = pl.Trainer(max_epochs=epochs, precision="bf16-mixed", **quiet)
    trainer.fit(task, datamodule=data)
    (scores,) = trainer.test(task, datamodule=data, verbose=False)
    trainer.save_checkpoint(out / f"seed-{seed}.ckpt")
    return dict(scores)


def main() -> None:
    """Read the options, run all seeds, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("resnext_plus"), help="folder of checkpoints and cache")
    parser.add_argument("--fast", action="store_true", help="a trial: one seed, few small scans, one epoch")
    options = parser.parse_args()
    subjects, depth, size, epochs = (9, 12, 32, 1) if options.fast else (240, 32, 64, 8)
    for seed in (0,) if options.fast else (0, 1, 2):
        scores = train_and_test(seed, subjects=subjects, depth=depth, size=size, epochs=epochs, out=options.out)
        print(f"seed {seed}", *(f"{key} {scores[key]:.3f}" for key in sorted(scores) if "auroc" in key), flush=True)


if __name__ == "__main__":
    main()
