from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from monai.transforms import RandAffined, RandFlipd

from covidct.datamodules import CTVolumeDataModule
from covidct.transforms import Augment
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
