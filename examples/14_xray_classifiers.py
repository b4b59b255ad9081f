"""Chest X-rays whole, lungs alone, without lungs: what does a classifier read? Two networks on X-rays with a trap.

    python examples/14_xray_classifiers.py --manifest xrays.csv --out xray_classifiers
    python examples/14_xray_classifiers.py --fast  # a trial of seconds

The phantoms have normal lungs throughout; positives have a bright tag beside them. A network that tells the classes
without the lungs has read the tag. The table of your own X-rays has the columns path, label, subject and mask;
``--lung-checkpoint`` (13_xray_lungs.py) makes the masks. ``covidct study xray`` adds intervals and paired differences.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl

from covidct.datamodules import CXRDataModule
from covidct.datasets import BaseDataset, ManifestCXR, PhantomTaggedCXR
from covidct.tasks import DarkCovidNetTask, SliceClassifierTask

VARIANTS: tuple[Literal["original", "lungs", "no_lungs"], ...] = ("original", "lungs", "no_lungs")


def train_and_test(network: str, data: CXRDataModule, *, backbone: str, epochs: int, out: Path) -> float:
    """Train one network from random weights, keep it, and give its AUROC on held-out subjects."""
    pl.seed_everything(0, verbose=False)
    if network == "DarkCovidNet":
        task: SliceClassifierTask | DarkCovidNetTask = DarkCovidNetTask()
    else:
        task = SliceClassifierTask(num_classes=2, backbone=backbone, in_channels=1, normalisation="dataset")
    quiet: Any = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    trainer = pl.Trainer(max_epochs=epochs, **quiet)
    trainer.fit(task, datamodule=data)
    (scores,) = trainer.test(task, datamodule=data, verbose=False)
    trainer.save_checkpoint(out / f"{network}-{data.preprocessing.masking}.ckpt")
    return scores["test_auroc"]


def main() -> None:
    """Train each network on each variant of the images; of the trial, two of the six."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, help="your table")
    parser.add_argument("--lung-checkpoint", help="of a lung network of X-rays, where the table has no masks")
    parser.add_argument("--out", type=Path, default=Path("xray_classifiers"), help="folder of checkpoints and cache")
    parser.add_argument("--fast", action="store_true", help="a trial: few small X-rays, one epoch, a small network")
    options = parser.parse_args()
    subjects, side, size, epochs = (8, 64, 32, 1) if options.fast else (120, 128, 224, 5)
    backbone = "resnet18" if options.fast else "densenet121"
    trainings = list(product(("SliceClassifier", "DarkCovidNet"), VARIANTS))
    xrays: BaseDataset = PhantomTaggedCXR(subjects, shape=(side, side))
    if options.manifest:
        xrays = ManifestCXR(options.manifest, classes="covid_vs_rest")
    for network, masking in trainings[2:4] if options.fast else trainings:
        data = CXRDataModule(
            xrays,
            batch_size=8,
            size=256 if network == "DarkCovidNet" else size,  # its last layer fixes the size
            mask_source="none" if options.lung_checkpoint else "file",
            lung_checkpoint=options.lung_checkpoint,
            masking=masking,
            val_fraction=0.0,
            test_fraction=0.3,
            cache_dir=str(options.out / "cache"),
        )
        auroc = train_and_test(network, data, backbone=backbone, epochs=epochs, out=options.out)
        print(f"{network}, {masking}: AUROC {auroc:.3f}", flush=True)


if __name__ == "__main__":
    main()
