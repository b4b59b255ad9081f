from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from monai.transforms import RandAffined, RandFlipd, RandGaussianNoised

from covidct.datamodules import CTVolumeDataModule
from covidct.datasets import PhantomCTVolumes
from covidct.errors import UsageError
from covidct.transforms import Augment, resnext_plus_augment
from tests.fakes.chests import PaintedVolumes, assert_moved_together

if TYPE_CHECKING:
    from pathlib import Path

KEYS = ("image", "lung_mask", "lesion_mask")
MODES = ("bilinear", "nearest", "nearest")
MOVES = {
    "flip": RandFlipd(KEYS, prob=1.0, spatial_axis=2, allow_missing_keys=True),
    "rotate": RandAffined(
        KEYS, prob=1.0, rotate_range=((0.3, 0.3), 0.0, 0.0), mode=MODES, padding_mode="zeros", allow_missing_keys=True
    ),
    "scale": RandAffined(
        KEYS,
        prob=1.0,
        scale_range=((0, 0), (0.2, 0.2), (0.2, 0.2)),
        mode=MODES,
        padding_mode="zeros",
        allow_missing_keys=True,
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_masks_move_with_the_image(tmp_path: Path, move: str) -> None:
    module = CTVolumeDataModule(
        PaintedVolumes(6),
        window=None,
        size=None,
        mask_source="file",
        batch_size=2,
        train_transform=Augment(MOVES[move]),
        cache_dir=str(tmp_path),
    )
    module.prepare_data()
    module.setup("fit")
    plain = module.predict_dataloader().dataset.__getitems__(range(len(module.dataset)))  # type: ignore[attr-defined]
    for batch in module.train_dataloader():
        before = plain["image"][plain["id"].index(batch["id"][0])]
        assert not np.array_equal(batch["image"][0], before)
        assert_moved_together(batch["image"].numpy(), batch["lung_mask"].numpy(), mirrored=move == "flip")


@pytest.mark.parametrize("masking", ["original", "lungs", "no_lungs"])
def test_noise_of_the_augmentation_stays_out_of_what_is_masked(tmp_path: Path, masking: Any) -> None:  # noqa: ANN401
    noise = RandGaussianNoised("image", prob=1.0, mean=0.5, std=0.1)
    module = CTVolumeDataModule(
        PhantomCTVolumes(6, shape=(12, 32, 32)),
        size=16,
        mask_source="file",
        masking=masking,
        train_transform=Augment(noise),
        cache_dir=str(tmp_path),
    )
    module.prepare_data()
    module.setup("fit")
    for batch in module.train_dataloader():
        outside, image = batch["lung_mask"] == 0, batch["image"]
        assert (image[outside] == 0).all() == (masking == "lungs")
        assert (image[~outside] == 0).all() == (masking == "no_lungs")
        assert image.max() > 0.5


def drawing_module(folder: Path, *, augment: bool = False) -> CTVolumeDataModule:
    """Twelve slices of each scan, at most five in training."""
    module = CTVolumeDataModule(
        PhantomCTVolumes(6, shape=(12, 32, 32), classes="covid_vs_rest"),
        size=16,
        grid="slices",
        mask_source="file",
        max_slices=5,
        augment=augment,
        train_transform=resnext_plus_augment() if augment else None,
        val_fraction=0.0,
        test_fraction=0.5,
        cache_dir=str(folder),
    )
    module.prepare_data()
    module.setup("fit")
    return module


@pytest.mark.parametrize("augment", [False, True])
def test_training_draws_slices_by_seed_epoch_and_sample(tmp_path: Path, *, augment: bool) -> None:
    module = drawing_module(tmp_path, augment=augment)
    loader, again = module.train_dataloader(), drawing_module(tmp_path, augment=augment).train_dataloader()
    first, same = list(loader), list(again)
    assert all(batch["image"].shape[2] == batch["slice_label"].shape[1] == 5 for batch in first)
    for one, other in zip(first, same, strict=True):
        assert one["id"] == other["id"]
        assert one["image"].equal(other["image"])
    loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
    later = {batch["id"][0]: batch["image"] for batch in loader}
    assert any(not batch["image"].equal(later[batch["id"][0]]) for batch in first)


def test_drawn_slices_are_slices_of_the_scan_in_their_order(tmp_path: Path) -> None:
    module = drawing_module(tmp_path)
    whole = module.predict_dataloader().dataset.__getitems__(range(6))  # type: ignore[attr-defined]
    assert whole["image"].shape[2] == 12
    assert {batch["image"].shape[2] for batch in module.test_dataloader()} == {12}
    for batch in module.train_dataloader():
        row = whole["id"].index(batch["id"][0])
        places = []
        for k in range(5):
            equal = (whole["image"][row] == batch["image"][0][:, k : k + 1]).all(dim=(0, 2, 3)).nonzero()[:, 0]
            places.append(int(equal[0]))
            assert batch["lung_mask"][0, 0, k].equal(whole["lung_mask"][row, 0, places[-1]])
            assert batch["slice_label"][0, k] == whole["slice_label"][row, places[-1]]
        assert places == sorted(set(places))


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True])
def test_number_of_slices_is_checked(wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="max_slices"):
        CTVolumeDataModule(PhantomCTVolumes(3), max_slices=wrong)
