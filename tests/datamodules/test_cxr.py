from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from covidct.datamodules import CXRDataModule
from covidct.datasets import ManifestCXR
from covidct.errors import InputError
from covidct.transforms import Augment
from tests.fakes.chests import PaintedCXR, assert_moved_together
from tests.fakes.cohort import write_table

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.sample import Batch

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


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Eight X-rays of 8 and 16 bits, grey, RGB and RGBA, with masks of 0 and 255, of 0, 1 and 2."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
        depth = np.uint16 if number % 2 else np.uint8
        channels = ((), (3,), (4,), ())[number // 2]
        picture = rng.integers(0, np.iinfo(depth).max, (150, 130, *channels), dtype=depth, endpoint=True)
        lungs = np.zeros((150, 130), np.uint8)
        lungs[20:120, 15:55], lungs[25:120, 75:120] = (1, 2) if number % 4 == 0 else (255, 255)
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        assert cv2.imwrite(str(tmp_path / f"{number}-m.png"), lungs)
        word = ("normal", "covid")[number % 2]
        rows.append({"path": f"{number}.png", "mask": f"{number}-m.png", "label": word, "subject": f"p{number}"})
    return write_table(tmp_path / "t.csv", rows)


def variants(files: Path, folder: Path, **options: Any) -> dict[str, Batch]:  # noqa: ANN401
    """All X-rays under each variant, as the data module gives them."""
    batches = {}
    for masking in ("original", "lungs", "no_lungs"):
        module = CXRDataModule(
            ManifestCXR(files, classes="covid_vs_rest"),
            mask_source="file",
            masking=masking,
            cache_dir=str(folder),
            **options,
        )
        module.prepare_data()
        module.setup("predict")
        (batches[masking],) = module.predict_dataloader()
    return batches


@pytest.mark.parametrize("size", [224, 64, None])
def test_lungs_and_no_lungs_add_up_to_the_original_to_the_bit(files: Path, tmp_path: Path, size: int | None) -> None:
    found = {name: batch["image"] for name, batch in variants(files, tmp_path / "cache", size=size).items()}
    assert found["original"].shape == (8, 1, *((150, 130) if size is None else (size, size)))
    assert torch.equal(found["lungs"] + found["no_lungs"], found["original"])
    assert int(torch.count_nonzero(found["lungs"] * found["no_lungs"])) == 0
    assert all(bool(found[name].any()) for name in ("lungs", "no_lungs"))


def test_variants_are_the_bitwise_ones_of_eight_bits(files: Path, tmp_path: Path) -> None:
    found = variants(files, tmp_path / "cache", size=None)
    for number in (0, 6):  # grey, eight bits
        picture = cv2.imread(str(files.parent / f"{number}.png"), cv2.IMREAD_UNCHANGED)
        stored = cv2.imread(str(files.parent / f"{number}-m.png"), cv2.IMREAD_UNCHANGED)
        assert picture is not None
        assert stored is not None
        lungs = np.minimum(stored, 1)
        for name, mask in (("lungs", 255 * lungs), ("no_lungs", 255 * (1 - lungs))):
            batch = found[name]
            shown = batch["image"][batch["id"].index(f"row-{number + 1:05d}"), 0].numpy() * 255
            np.testing.assert_array_equal(np.rint(shown), np.bitwise_and(picture, mask))
            np.testing.assert_allclose(shown, np.rint(shown), atol=1e-4)


def test_sixteen_bits_keep_their_depth(files: Path, tmp_path: Path) -> None:
    batch = variants(files, tmp_path / "cache", size=None)["original"]
    picture = cv2.imread(str(files.parent / "1.png"), cv2.IMREAD_UNCHANGED)
    shown = batch["image"][batch["id"].index("row-00002"), 0].numpy()
    np.testing.assert_array_equal(np.rint(shown * 65535), picture)


def test_augmented_variants_stay_apart(files: Path, tmp_path: Path) -> None:
    module = CXRDataModule(
        ManifestCXR(files, classes="covid_vs_rest"),
        mask_source="file",
        masking="no_lungs",
        cache_dir=str(tmp_path / "cache"),
    )
    module.prepare_data()
    module.setup("fit")
    (batch,) = module.train_dataloader()
    assert not batch["image"][batch["lung_mask"] > 0].any()


def test_a_mask_of_another_size_and_an_empty_one_are_named_by_row(files: Path, tmp_path: Path) -> None:
    assert cv2.imwrite(str(files.parent / "2-m.png"), np.full((75, 65), 255, np.uint8))
    assert cv2.imwrite(str(files.parent / "5-m.png"), np.zeros((150, 130), np.uint8))
    dataset = ManifestCXR(files, classes="covid_vs_rest")
    module = CXRDataModule(dataset, mask_source="file", cache_dir=str(tmp_path / "cache"))
    with pytest.raises(InputError, match="2 of 8 scans cannot be used") as caught:
        module.prepare_data()
    assert "[row-00003] Row 3: the mask has (75, 65) pixels, the image (150, 130)" in str(caught.value)
    assert "[row-00006] This image has an empty lung mask" in str(caught.value)
