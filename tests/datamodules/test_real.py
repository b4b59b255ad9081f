"""The three data modules on real images, by way of a table."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.datamodules import CTSliceDataModule, CTVolumeDataModule, CXRDataModule
from covidct.datasets import ManifestCXR, ManifestSlices, ManifestVolumes
from covidct.sample import check_batch
from tests.fakes.cohort import write_table

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def test_volumes_have_the_lungs_of_their_mask_files(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "ct_imlab_lung3d"
    rows = [
        {
            "path": folder / f"id00{n}_ct.nii.gz",
            "mask": folder / f"id00{n}_lung_lr_derived.nii.gz",
            "label": "covid" if n == 1 else "normal",
            "subject": n,
        }
        for n in (1, 2, 3)
    ]
    dataset = ManifestVolumes(write_table(tmp_path / "t.csv", rows), classes="covid_vs_rest")
    masks = {}
    for source in ("file", "threshold"):
        module = CTVolumeDataModule(dataset, size=64, batch_size=3, mask_source=source, cache_dir=str(tmp_path / "c"))
        module.prepare_data()
        module.setup("predict")
        (batch,) = module.predict_dataloader()
        check_batch(batch, "ct_volume", ["lung_mask"])
        masks[source] = batch["lung_mask"].numpy()
    for side in (1, 2):
        for true, found in zip(masks["file"] == side, masks["threshold"] == side, strict=True):
            assert 2 * (true & found).sum() / (true.sum() + found.sum()) > 0.9


def test_slice_pictures_with_their_published_split(real_data: Path, tmp_path: Path) -> None:
    with (real_data / "covid_ct" / "index.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    chosen = [line for part in ("train", "val", "test") for line in lines if line["split"] == part][::25]
    rows = [
        {
            "path": real_data / "covid_ct" / line["path"],
            "label": "covid" if line["label"] == "1" else "non-covid",
            "subject": line["path"],
            "split": line["split"],
        }
        for line in chosen
    ]
    dataset = ManifestSlices(write_table(tmp_path / "t.csv", rows), classes="covid_vs_rest")
    module = CTSliceDataModule(dataset, window=None, batch_size=4, cache_dir=str(tmp_path / "c"))
    module.prepare_data()
    module.setup("fit")
    for part in ("train", "val", "test"):
        assert len(module.records(part)) == sum(row["split"] == part for row in rows)
    batch = next(iter(module.train_dataloader()))
    check_batch(batch, "ct_slice", ["label"])
    assert batch["image"].shape == (4, 1, 224, 224)
    assert batch["image"].std() > 0.1


def test_x_rays_are_dark_where_their_masks_are(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "cxr_lung_masks"
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))[:6]
    rows = [
        {"path": folder / line["image"], "mask": folder / line["mask"], "label": "covid", "subject": line["group"]}
        for line in lines
    ]
    module = CXRDataModule(
        ManifestCXR(write_table(tmp_path / "t.csv", rows)), mask_source="file", cache_dir=str(tmp_path / "c")
    )
    module.prepare_data()
    module.setup("predict")
    (batch,) = module.predict_dataloader()
    check_batch(batch, "cxr", ["lung_mask"])
    for mask, line in zip(batch["lung_mask"].numpy(), lines, strict=True):
        assert np.mean(mask > 0) == pytest.approx(float(line["lung_fraction"]), abs=0.01)
