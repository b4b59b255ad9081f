"""The published layout of COVID-QU-Ex, in miniature."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from covidct.datamodules import CXRDataModule
from covidct.datasets import COVIDQUEx
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import content_digest
from covidct.sample import check_batch, check_sample

if TYPE_CHECKING:
    from pathlib import Path

LUNGS = "Lung Segmentation Data"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images of each class for training, one for validation and test, in a folder within itself."""
    for part, count in (("Train", 2), ("Val", 1), ("Test", 1)):
        for seed, (word, name) in enumerate((("COVID-19", "covid"), ("Non-COVID", "non_COVID"), ("Normal", "Normal"))):
            folder = tmp_path / LUNGS / LUNGS / part / word
            for inside in ("images", "lung masks"):
                (folder / inside).mkdir(parents=True)
            for number in range(count):
                rng = np.random.default_rng([seed, number, len(part)])
                mask = np.zeros((256, 256), np.uint8)
                mask[50:200, 60:200] = 255
                file = f"{name} ({number + 1}).png"
                assert cv2.imwrite(str(folder / "images" / file), rng.integers(0, 256, (256, 256), dtype=np.uint8))
                assert cv2.imwrite(str(folder / "lung masks" / file), mask)
    return tmp_path


def test_records_are_the_folders(root: Path) -> None:
    dataset = COVIDQUEx(root)
    assert dataset.class_names == ("normal", "cap", "covid")
    assert [record.id for record in dataset.records][:2] == ["train-COVID-19-covid (1)", "train-COVID-19-covid (2)"]
    counts = Counter((record.split, record.label) for record in dataset.records)
    assert counts == {(part, label): 1 + (part == "train") for part in ("train", "val", "test") for label in range(3)}
    assert len({record.subject for record in dataset.records}) == 12
    assert [r.id for r in COVIDQUEx(root / LUNGS / LUNGS).records] == [r.id for r in dataset.records]
    assert {record.label for record in COVIDQUEx(root, classes="covid_vs_rest").records} == {0, 1}


def test_samples_and_batches_keep_the_contract(root: Path, tmp_path: Path) -> None:
    dataset = COVIDQUEx(root)
    sample = dataset[0]
    check_sample(sample, "cxr")
    assert sample["lung_mask"].sum() == 150 * 140
    assert len({dataset.content_key(source, digest=content_digest) for source in range(12)}) == 12
    module = CXRDataModule(dataset, size=128, mask_source="file", batch_size=6, cache_dir=str(tmp_path / "cache"))
    module.prepare_data()
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    check_batch(batch, "cxr", ["label", "lung_mask"])
    assert batch["image"].shape == (6, 1, 128, 128)


def test_a_part_that_is_absent_is_left_out(root: Path) -> None:
    (root / LUNGS / LUNGS / "Val").rename(root / "elsewhere")
    assert {record.split for record in COVIDQUEx(root).records} == {"train", "test"}


def test_missing_folders_and_masks_are_refused(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ManifestError, match="no folder Train, Val or Test"):
        len(COVIDQUEx(tmp_path_factory.mktemp("empty")))
    folder = root / LUNGS / LUNGS / "Train" / "Normal"
    mask = folder / "lung masks" / "Normal (1).png"
    assert cv2.imwrite(str(mask), np.zeros((64, 64), np.uint8))
    dataset = COVIDQUEx(root)
    place = [record.id for record in dataset.records].index("train-Normal-Normal (1)")
    with pytest.raises(InputError, match=r"train-Normal-Normal \(1\) has \(64, 64\) pixels, the image \(256, 256\)"):
        dataset.load(place)
    mask.unlink()
    with pytest.raises(ManifestError, match=r"Normal \(1\)\.png of train has no file of its name in 'lung masks'"):
        len(COVIDQUEx(root))
    with pytest.raises(UsageError, match="'cap' is unknown"):
        COVIDQUEx(root, classes={"covid": "a", "normal": "b"})
