"""Gated dual-contrast ensemble: a gate by contrast, COVNets for high and a two-level classifier for low contrast.

    python examples/16_gated_ensemble.py --manifest cohort.csv --out ensemble
    python examples/16_gated_ensemble.py --fast  # a trial of seconds

Each expert is trained by its own recipe on the subjects of its side, experts of one side are weighed on validation
subjects, and all are joined to one checkpoint for triage. The table has the columns path, label, subject and
slice_labels (empty where unknown). Finished experts stay: start it again, and only what is new is trained. ``covidct
ensemble`` cleans the order of slices before and writes a report after.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import BaseDataset, ManifestVolumes, PhantomTwoContrasts
from covidct.studies import Expert, train_gated_system
from covidct.tasks import COVNetTask, TwoLevelTask

REAL: dict[str, Any] = {"weights": "IMAGENET1K_V1"}  # the recipe of examples/configs/gated_system.yaml


def main() -> None:
    """Train the experts, join them, test the ensemble."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, help="your table")
    parser.add_argument("--out", type=Path, default=Path("ensemble"), help="folder of experts, ensemble and cache")
    parser.add_argument("--fast", action="store_true", help="a trial: few small scans, one epoch of each expert")
    options = parser.parse_args()
    subjects, depth, size, epochs = (12, 4, 32, 1) if options.fast else (120, 16, 64, 12)
    cohort: BaseDataset = PhantomTwoContrasts(subjects, shape=(depth, size, size), low_look="swapped")
    trunk = "mobilenet_v3_small" if options.fast else "resnet18"
    low = TwoLevelTask(backbone=trunk, slice_size=None, level1_epochs=epochs, folds=2, level1_slices=8)
    high = COVNetTask(backbone="resnet18", slice_size=None, train_norm=True, learning_rate=1e-3, weight_decay=1e-2)
    other = COVNetTask(backbone="csrnet", slice_size=None, learning_rate=1e-3, weight_decay=1e-2)
    if options.manifest:
        cohort, size = ManifestVolumes(options.manifest), 224
        low, high, other = TwoLevelTask(**REAL), COVNetTask(**REAL), COVNetTask(**REAL, backbone="csrnet")
    data = CTVolumeDataModule(
        cohort,
        batch_size=2 if options.manifest else 4,
        size=size,
        grid="slices",
        mask_source="lung_field" if options.manifest else "file",
        enhancement="equalise_clahe" if options.manifest else "none",
        masking="lungs",
        contrast="rms" if options.manifest else "spread",  # "spread" parts the phantoms without an error
        val_fraction=0.2,
        test_fraction=0.2,
        balanced_sampling=True,
        cache_dir=str(options.out / "cache"),
    )
    system = train_gated_system(
        data,
        low=[Expert(low, epochs=40 if options.manifest else epochs)],
        high=[Expert(task, epochs=50 if options.manifest else epochs) for task in (high, other)],
        out=options.out,
        on_expert=lambda name: print(f"{name} trained", flush=True),
    )
    print(f"gate at {system.split.threshold:.3f}, weights {dict(system.weights)}")
    trainer = pl.Trainer(logger=False, enable_progress_bar=False)
    (scores,) = trainer.test(system.task, datamodule=data, verbose=False)
    print(f"test accuracy {scores['test_accuracy']:.3f}; {options.out / 'ensemble.ckpt'} holds all experts")


if __name__ == "__main__":
    main()
