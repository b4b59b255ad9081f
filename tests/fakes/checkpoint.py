"""A trained task as small as can be, and scans on disk for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.utilities.seed import isolate_rng

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.phantom import simulate_ct
from covidct.tasks import MaskedGAPResNetTask

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.phantom import PhantomCT

SHAPE = (24, 32, 32)
SIZE = 32


def tiny_data(cache: Path, **options: object) -> CTVolumeDataModule:
    """Six phantoms of 24 x 32 x 32 voxels, split by subject."""
    arguments: dict[str, Any] = {"size": SIZE, "val_fraction": 0.34, "test_fraction": 0.34, **options}
    return CTVolumeDataModule(PhantomCTVolumes(6, shape=SHAPE), cache_dir=str(cache), **arguments)


def write_checkpoint(folder: Path) -> Path:
    """Train one step and save; returns the ``.ckpt`` file."""
    with isolate_rng():
        pl.seed_everything(0, verbose=False)
        task = MaskedGAPResNetTask(num_classes=3, backbone="resnet18", slice_size=40, learning_rate=1e-3)
        trainer = pl.Trainer(
            max_steps=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
        )
        trainer.fit(task, datamodule=tiny_data(folder / "cache"))
        trainer.save_checkpoint(folder / "tiny.ckpt", weights_only=True)
    return folder / "tiny.ckpt"


def phantom(seed: int = 0, diagnosis: str = "covid") -> PhantomCT:
    """A phantom of the tiny shape."""
    return simulate_ct(seed, diagnosis=diagnosis, shape=SHAPE)  # type: ignore[arg-type]


def write_nifti(path: Path, scan: PhantomCT) -> Path:
    """Write a phantom as NIfTI (RAS millimetres)."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.volume.affine
    array = np.rint(scan.volume.array).astype(np.int16).transpose(2, 1, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)  # type: ignore[no-untyped-call]
    return path
