"""Volume labels in, slice findings out: ResNeXt+ with a small trunk on simulated scans, from random weights.

    python examples/03_resnext_plus_slices.py --subjects 240 --epochs 8 --seeds 0 1 2

For each seed a cohort of its own is simulated, split by subject and trained on its volume labels (COVID-19 against the
rest); the slice labels of the simulation are looked at in the test alone. Prints the AUROC of volumes and of slices on
held-out subjects. Shares of attention sum to one in every scan, sick or healthy, so slices of all scans are ranked by
N x share in scans predicted positive (0 in the others), and once more among the scans with true slices alone.
"""

from __future__ import annotations

import argparse
import tempfile

import pytorch_lightning as pl
from monai.transforms import RandFlipd

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.tasks import ResNeXtPlusTask
from covidct.transforms import Augment


def train_and_test(options: argparse.Namespace, seed: int, cache_dir: str) -> dict[str, float]:
    """Train one network and score it on held-out subjects."""
    pl.seed_everything(seed, verbose=False)
    shape = (options.depth, options.size, options.size)
    data = CTVolumeDataModule(
        PhantomCTVolumes(options.subjects, shape=shape, classes="covid_vs_rest", seed=seed),
        batch_size=4,
        window=(-1200.0, 600.0),
        size=options.size,
        grid="slices",
        mask_source="file",
        masking="lungs",  # what lies outside the lungs would take a far longer training to be seen through
        val_fraction=0.0,
        test_fraction=0.3,
        seed=seed,
        balanced_sampling=True,
        train_transform=Augment(RandFlipd(("image", "lung_mask"), prob=0.5, spatial_axis=2)),
        max_slices=options.slices,
        cache_dir=cache_dir,
    )
    task = ResNeXtPlusTask(
        backbone="resnet10",
        slice_size=options.size,
        learning_rate=5e-5,
        max_learning_rate=5e-4,  # higher than published: the weights are random
        epochs_up=options.epochs / 2,
    )
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    trainer = pl.Trainer(max_epochs=options.epochs, precision="bf16-mixed", **quiet)  # type: ignore[arg-type]
    trainer.fit(task, datamodule=data)
    (scores,) = trainer.test(task, datamodule=data, verbose=False)
    if options.out:
        trainer.save_checkpoint(f"{options.out}-{seed}.ckpt")
    return dict(scores)


def main() -> None:
    """Read the options, run all seeds, print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--depth", type=int, default=32, help="slices of a scan")
    parser.add_argument("--slices", type=int, default=16, help="slices drawn of a scan in training")
    parser.add_argument("--size", type=int, default=64, help="pixels per side")
    parser.add_argument("--out", help="keep the checkpoints as OUT-<seed>.ckpt")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache_dir:
        for seed in options.seeds:
            scores = train_and_test(options, seed, cache_dir)
            print(f"seed {seed}", *(f"{key} {scores[key]:.3f}" for key in sorted(scores) if "auroc" in key), flush=True)


if __name__ == "__main__":
    main()
