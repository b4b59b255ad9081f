from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from torchvision.transforms import v2

from covidct.datamodules import CXRDataModule
from covidct.transforms import Augment
from tests.fakes.chests import PaintedCXR, assert_moved_together

if TYPE_CHECKING:
    from pathlib import Path

MOVES = {
    "flip": v2.RandomHorizontalFlip(1.0),
    "rotate": v2.RandomRotation((15, 15)),
    "scale": v2.RandomAffine(0, scale=(1.2, 1.2), interpolation=v2.InterpolationMode.BILINEAR),
}


@pytest.mark.parametrize("move", MOVES)
def test_masks_move_with_the_image(tmp_path: Path, move: str) -> None:
    module = CXRDataModule(
        PaintedCXR(6),
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
