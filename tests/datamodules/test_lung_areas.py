from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from covidct.datamodules import CXRDataModule
from covidct.datasets import Raw, Record
from covidct.errors import UsageError
from covidct.volume import Image
from tests.fakes.chests import FakeCXR

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.datasets.base import Split

ROWS = (149, 150, 151, 300)
"""Of 1000 rows of pixels, these many are lung: 14.9 %, 15.0 %, 15.1 %, 30 %."""
PARTS: tuple[Split, ...] = ("train", "val", "test")


class Areas(FakeCXR):
    """Each area once in each class of each part."""

    def __init__(self) -> None:
        super().__init__(len(ROWS) * 2 * len(PARTS))

    def record(self, source: int) -> Record:
        part = PARTS[source // (len(ROWS) * 2)]
        return replace(super().record(source), id=f"{part}-{ROWS[source % len(ROWS)]}-{source}", split=part)

    def load(self, source: int) -> Raw:
        mask = np.zeros((1000, 64), np.uint8)
        mask[: ROWS[source % len(ROWS)]] = 1 + source % 2
        return Raw(Image(np.random.default_rng(source).random((1000, 64), dtype=np.float32)), lung_mask=mask)


def ready(folder: Path, **options: Any) -> CXRDataModule:  # noqa: ANN401
    module = CXRDataModule(Areas(), **{"size": None, "mask_source": "file", "cache_dir": str(folder), **options})
    module.prepare_data()
    module.setup("fit")
    return module


def test_below_fifteen_percent_is_listed_and_left_out_of_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        module = ready(tmp_path)
    small = [f"{part}-149-{source}" for part, source in (("train", 0), ("train", 4), ("val", 8), ("val", 12))]
    assert module.small_lungs == {name: 0.149 for name in [*small, "test-149-16", "test-149-20"]}
    assert {record.id.split("-")[1] for record in module.records("train")} == {"150", "151", "300"}
    assert len(module.records("train")) == 6
    assert [len(module.records(part)) for part in ("val", "test")] == [8, 8]
    assert "less than 15 % of 6 of 24 images (train-149-0 14.9 %" in caplog.text
    assert "2 of them are left out of training" in caplog.text
    module.setup("test")
    assert len(module.small_lungs) == 6
    assert sum(len(batch["id"]) for batch in module.train_dataloader()) == 6


@pytest.mark.parametrize(
    ("options", "kept"), [({"min_lung_area": 0.0}, 8), ({"mask_source": "none"}, 8), ({"min_lung_area": 0.1505}, 4)]
)
def test_the_filter_is_a_choice(tmp_path: Path, options: dict[str, Any], kept: int) -> None:
    module = ready(tmp_path, **options)
    assert len(module.records("train")) == kept
    assert bool(module.small_lungs) == (kept < 8)


def test_when_none_is_left_to_train_on_it_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="less than 40 % of each of the 8 training images: look at the masks"):
        ready(tmp_path, min_lung_area=0.4)
    module = CXRDataModule(Areas(), size=None, mask_source="file", cache_dir=str(tmp_path), min_lung_area=0.4)
    module.setup("test")
    assert len(module.records("test")) == 8


@pytest.mark.parametrize("share", [-0.1, 1.0, 15.0, float("nan")])
def test_a_share_is_a_share(tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match=r"min_lung_area=.* must be a share"):
        CXRDataModule(FakeCXR(), min_lung_area=share, cache_dir=str(tmp_path))
