from __future__ import annotations

import pickle
import shutil
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import BaseDataset, CNCBLesions
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import content_digest
from covidct.sample import check_batch, check_sample

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def picture(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def codes(shape: tuple[int, int] = (40, 48)) -> NDArray[np.uint8]:
    """Lungs (1) with 120 pixels of ground-glass opacity (2), 101 and 100 of consolidation (3), and a speck of each."""
    mask = np.zeros(shape, dtype=np.uint8)
    mask[2:38, 2:46] = 1
    mask[4:14, 4:16] = 2
    mask[16:26, 4:14] = 3
    mask[26, 4] = 3
    mask[16:26, 20:30] = 3
    mask[30, 30] = 2
    mask[32, 32] = 3
    return mask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four slices of three patients: one 8-bit, one without lesions, one of 16 bits, one with alpha."""
    grey = np.random.default_rng(0).integers(0, 256, (40, 48), dtype=np.uint8)
    picture(tmp_path / "imgs" / "10_9.png", grey)
    picture(tmp_path / "masks" / "10_9.png", codes())
    picture(tmp_path / "imgs" / "10_100.png", grey)
    picture(tmp_path / "masks" / "10_100.png", np.minimum(codes(), 1))
    picture(tmp_path / "imgs" / "9_7.png", grey.astype(np.uint16) * 257)
    picture(tmp_path / "masks" / "9_7.png", np.where(codes() == 2, 0, codes()).astype(np.uint8))
    alpha = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    picture(tmp_path / "imgs" / "11_1.png", alpha)
    picture(tmp_path / "masks" / "11_1.png", np.dstack([codes()] * 3))
    return tmp_path


def test_records_are_matched_by_name(root: Path) -> None:
    dataset = CNCBLesions(root)
    assert [record.id for record in dataset.records] == ["9_7", "10_9", "10_100", "11_1"]
    assert [record.subject for record in dataset.records] == ["9", "10", "10", "11"]
    assert {record.label for record in dataset.records} == {2}
    assert dataset.scan_hash(dataset.records[1]) == dataset.scan_hash(dataset.records[2])
    assert len(pickle.loads(pickle.dumps(dataset))) == 4  # noqa: S301
    folders = root.parent / "nested"
    for part in ("imgs", "masks"):
        for file in (root / part).iterdir():
            patient, number = file.stem.split("_")
            (folders / part / patient).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folders / part / patient / f"{number}.png")
    assert [record.id for record in CNCBLesions(folders).records] == ["9_7", "10_9", "10_100", "11_1"]


def test_values_are_mapped_by_a_fixed_table(root: Path) -> None:
    dataset = CNCBLesions(root)
    samples = {record.id: dataset[index] for index, record in enumerate(dataset.records)}
    for sample in samples.values():
        check_sample(sample, "ct_slice")
        assert sample["image"].shape == (1, 40, 48)
    whole = samples["10_9"]
    assert whole["instances"]["labels"].tolist() == [1, 2]
    assert whole["instances"]["boxes"].tolist() == [[4.0, 4.0, 16.0, 14.0], [4.0, 16.0, 14.0, 27.0]]
    assert whole["instances"]["masks"].sum(dim=(1, 2)).tolist() == [120, 101]
    assert int((whole["lesion_mask"] > 0).sum()) == 221  # specks of no object are gone
    assert torch.equal(whole["lung_mask"][0], torch.from_numpy((codes() > 0).astype(np.uint8)))
    # the published code calls consolidation class 1 where a slice shows no ground-glass opacity
    assert samples["9_7"]["instances"]["labels"].tolist() == [2]
    assert torch.equal(samples["9_7"]["image"], whole["image"])  # 16 bits
    assert torch.equal(samples["11_1"]["image"], whole["image"])  # alpha
    assert torch.equal(samples["11_1"]["lesion_mask"], whole["lesion_mask"])  # equal colours
    negative = samples["10_100"]
    assert len(negative["instances"]["boxes"]) == 0
    assert [int(samples[name]["slice_label"]) for name in ("10_100", "10_9", "9_7")] == [0, 2, 2]


def test_mask_types_and_areas(root: Path) -> None:
    merged, single, all_sizes = (
        CNCBLesions(root, mask_type="merge"),
        CNCBLesions(root, mask_type="ggo"),
        CNCBLesions(root, min_area=0),
    )
    assert merged[1]["instances"]["labels"].tolist() == [1, 1]
    assert single[1]["instances"]["boxes"].tolist() == [[4.0, 4.0, 16.0, 14.0]]
    assert len(single[0]["instances"]["boxes"]) == 0
    assert all_sizes[1]["instances"]["labels"].tolist() == [1, 1, 2, 2, 2]
    keys = {dataset.content_key(1, digest=content_digest) for dataset in (merged, single, all_sizes, CNCBLesions(root))}
    assert len(keys) == 4
    keys.add(CNCBLesions(root).content_key(2, digest=content_digest))
    assert len(keys) == 5


def test_split_files_choose_and_part(root: Path) -> None:
    (root / "train.txt").write_text("10_9.jpg\n10_100.jpg\n")
    (root / "test.txt").write_text("9_7.jpg\n")
    files = {"train": str(root / "train.txt"), "test": str(root / "test.txt")}
    dataset = CNCBLesions(root, split_files=files)
    assert {record.id: record.split for record in dataset.records} == {
        "9_7": "test",
        "10_9": "train",
        "10_100": "train",
    }
    module = CTSliceDataModule(
        dataset,
        window=None,
        size=32,
        mask_source="file",
        batch_size=4,
        val_fraction=0.0,
        augment=False,
        cache_dir=str(root / "cache"),
    )
    module.prepare_data()
    module.setup("fit")
    assert module.mask_type == "both"
    (batch,) = list(module.train_dataloader())
    check_batch(batch, "ct_slice", ("image", "instances", "lung_mask"))
    assert sorted(len(instances["boxes"]) for instances in batch["instances"]) == [0, 2]
    (root / "test.txt").write_text("9_7.jpg\n12_1.jpg\n")
    with pytest.raises(ManifestError, match=r"1 image\(s\) of the split .* 12_1 \(line 2 of test.txt\)"):
        len(CNCBLesions(root, split_files=files))


def test_files_that_do_not_fit_are_named(root: Path) -> None:
    (root / "masks" / "11_1.png").rename(root / "masks" / "11_2.png")
    with pytest.raises(ManifestError, match=r"1 image\(s\) .* no mask of the same name, the first is 11_1\.png"):
        len(CNCBLesions(root))
    (root / "imgs" / "11_1.png").unlink()
    with pytest.raises(ManifestError, match=r"1 mask\(s\) .* no image of the same name, the first is 11_2\.png"):
        len(CNCBLesions(root))
    (root / "masks" / "11_2.png").rename(root / "masks" / "lonely.png")
    with pytest.raises(ManifestError, match=r"lonely\.png in masks has no name like"):
        len(CNCBLesions(root))
    (root / "masks" / "lonely.png").unlink()
    shutil.copy(root / "imgs" / "10_9.png", root / "imgs" / "10_9.bmp")
    with pytest.raises(ManifestError, match="imgs holds 10_9 twice"):
        len(CNCBLesions(root))
    shutil.rmtree(root / "imgs")
    with pytest.raises(ManifestError, match="no folder imgs or images"):
        len(CNCBLesions(root))
    (root / "imgs").mkdir()
    with pytest.raises(ManifestError, match="no image in"):
        len(CNCBLesions(root))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (codes() + np.uint8(1), r"10_9\.png holds the value\(s\) 4"),
        (codes() * np.uint8(85), r"10_9\.png holds the value\(s\) 85, 170, 255"),
        (codes((40, 50)), r"mask 10_9\.png has 40 x 50 pixels, the image 10_9\.png 40 x 48"),
        (np.dstack([codes(), codes(), 0 * codes()]), r"10_9\.png is coloured"),
    ],
)
def test_masks_of_another_kind_are_refused(root: Path, mask: NDArray[np.uint8], message: str) -> None:
    picture(root / "masks" / "10_9.png", mask)
    with pytest.raises(InputError, match=message):
        CNCBLesions(root).load(1)


def test_written_in_yaml(root: Path) -> None:
    (root / "train.txt").write_text("10_9.png\n")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataset, "dataset")
    init = {"root": str(root), "mask_type": "ggo", "split_files": {"train": str(root / "train.txt")}}
    node = {"dataset": {"class_path": "covidct.datasets.CNCBLesions", "init_args": init}}
    assert len(parser.instantiate(parser.parse_object(node))["dataset"]) == 1


@pytest.mark.parametrize("wrong", [{"mask_type": "all"}, {"min_area": -1}, {"split_files": {"all": "x"}}])
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        CNCBLesions(tmp_path, **wrong)
