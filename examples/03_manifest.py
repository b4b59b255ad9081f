"""A cohort of your own as a table: mask-weighted GAP is trained on it and tested on subjects that were held out.

    python examples/03_manifest.py --manifest cohort.csv --out my_training
    python examples/03_manifest.py --fast  # a trial of seconds, on phantoms

The table has the columns path (DICOM folder or zip, NIfTI, NRRD, MetaImage), label (normal, cap, covid) and subject,
and where you have them split, mask, lesion_mask, slice_labels, site. Without a table, phantoms are written as NIfTI
and listed in one. ``covidct fit -c examples/configs/masked_gap_resnet.yaml`` is such a training with all callbacks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import SimpleITK as sitk

from covidct.callbacks import Checkpoints
from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import ManifestVolumes, PhantomCTVolumes
from covidct.io import write_mask
from covidct.phantom import simulate_ct
from covidct.tasks import MaskedGAPResNetTask

# As published: cubes of 128 voxels, a ResNet-50 whose weights are fetched once; and a form for phantoms and CPUs.
REAL: dict[str, Any] = {"data": {"balanced_sampling": True}, "task": {"weights": "IMAGENET1K_V1"}}
SMALL: dict[str, Any] = {
    "data": {"batch_size": 4, "size": 40, "mask_source": "file", "masking": "lungs", "augment": False},
    "task": {"backbone": "resnet18", "slice_size": None, "learning_rate": 1e-3},
}


def write_phantoms(folder: Path, subjects: int) -> Path:
    """Scans and lung masks as files, and their table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["path,label,subject,mask"]
    for seed in range(subjects):
        diagnosis = PhantomCTVolumes().diagnosis(seed)  # in turn
        made = simulate_ct(seed, diagnosis=diagnosis, shape=(48, 64, 64))
        image: Any = sitk.GetImageFromArray(made.volume.array)
        image.SetSpacing(made.volume.spacing[::-1])
        image.SetOrigin(made.volume.affine[:3, 3].tolist())
        sitk.WriteImage(image, str(folder / f"{seed}.nii.gz"))
        write_mask(made.lung_mask, like=made.volume, path=folder / f"{seed}_lungs.nii.gz")
        rows.append(f"{seed}.nii.gz,{diagnosis},p{seed},{seed}_lungs.nii.gz")  # paths are relative to the table
    table = folder / "cohort.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def main() -> None:
    """Train on the table, test, print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, help="your table")
    parser.add_argument("--out", type=Path, default=Path("manifest_training"), help="folder of checkpoints and cache")
    parser.add_argument("--fast", action="store_true", help="a trial: few phantoms, one epoch")
    options = parser.parse_args()
    pl.seed_everything(0, verbose=False)
    subjects, epochs = (12, 1) if options.fast else (150, 8)
    table = options.manifest or write_phantoms(options.out / "phantoms", subjects)
    recipe = REAL if options.manifest else SMALL
    cache_dir = str(options.out / "cache")
    data = CTVolumeDataModule(ManifestVolumes(table), **recipe["data"], val_fraction=0.25, cache_dir=cache_dir)
    task = MaskedGAPResNetTask(num_classes=3, **recipe["task"])
    keep = Checkpoints()  # checkpoints/best.ckpt by validation AUROC, and last.ckpt
    epochs = 50 if options.manifest else epochs
    run: dict[str, Any] = {"logger": False, "default_root_dir": options.out, "enable_progress_bar": not options.fast}
    trainer = pl.Trainer(max_epochs=epochs, callbacks=[keep], **run)
    trainer.fit(task, datamodule=data)
    (scores,) = trainer.test(task, datamodule=data, ckpt_path=keep.best_model_path or None, verbose=False)
    print("scans:", {part: len(data.records(part)) for part in ("train", "val", "test")})
    print(*(f"{name} {scores[name]:.3f}" for name in ("test_accuracy", "test_auroc")), keep.best_model_path)


if __name__ == "__main__":
    main()
