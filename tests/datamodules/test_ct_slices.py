from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2

from covidct.datamodules import CTSliceDataModule
from covidct.datasets import PhantomLesions, Raw
from covidct.sample import check_batch
from covidct.transforms import Augment
from covidct.volume import Volume
from tests.fakes.chests import PaintedSlices, assert_moved_together

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from covidct.sample import Batch

MOVES = {
    "flip": v2.RandomHorizontalFlip(1.0),
    "rotate": v2.RandomRotation((15, 15)),
    "scale": v2.RandomAffine(0, scale=(1.2, 1.2), interpolation=v2.InterpolationMode.BILINEAR),
}


@pytest.mark.parametrize("move", MOVES)
def test_masks_move_with_the_image(tmp_path: Path, move: str) -> None:
    module = CTSliceDataModule(
        PaintedSlices(6),
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


class PaintedLesions(PhantomLesions):
    """Slices whose brightness is the lesion mask: 0.5 ground-glass opacity, 1 consolidation."""

    intensity = "unit"  # type: ignore[assignment]

    def load(self, source: int) -> Raw:
        raw = super().load(source)
        assert isinstance(raw.scan, Volume)
        assert raw.lesion_mask is not None
        painted = Volume(raw.lesion_mask.astype(np.float32) / 2, raw.scan.affine, intensity="unit")
        return Raw(painted, lung_mask=raw.lung_mask, lesion_mask=raw.lesion_mask, slice_label=raw.slice_label)


def lesions(folder: Path, move: torch.nn.Module | None = None, *, painted: bool = False) -> CTSliceDataModule:
    """Slices of two sick subjects, all of them for training."""
    dataset = (PaintedLesions if painted else PhantomLesions)(
        3, shape=(48, 96, 96), slices_per_scan=3, lesions_only=True
    )
    module = CTSliceDataModule(
        dataset,
        window=None if painted else (-1250.0, 250.0),
        size=None,
        batch_size=6,
        val_fraction=0.0,
        test_fraction=0.0,
        augment=False,
        train_transform=None if move is None else Augment(move),
        cache_dir=str(folder),
    )
    module.prepare_data()
    module.setup("fit")
    return module


def one_batch(module: CTSliceDataModule) -> Batch:
    """All slices, in the order of their ids."""
    (batch,) = list(module.train_dataloader())
    order = np.argsort(batch["id"])
    return {key: [value[i] for i in order] for key, value in batch.items()}


def by_box(instances: dict[str, Tensor]) -> list[tuple[list[float], int, bytes]]:
    """Objects of a slice in an order of their own."""
    return sorted(
        (box.tolist(), int(label), mask.numpy().tobytes())
        for box, label, mask in zip(instances["boxes"], instances["labels"], instances["masks"], strict=True)
    )


def test_batches_carry_the_objects_of_their_masks(tmp_path: Path) -> None:
    module = lesions(tmp_path)
    assert module.mask_type == "both"
    (gathered,) = list(module.train_dataloader())
    check_batch(gathered, "ct_slice", ("image", "instances"))
    samples = module.samples("train")
    for index, record in enumerate(module.records("train")):
        whole = module.dataset[module.dataset.records.index(record)]
        place = gathered["id"].index(record.id)
        for instances in (gathered["instances"][place], samples[index]["instances"]):
            assert len(instances["boxes"]) > 0
            assert by_box(instances) == by_box(whole["instances"])


def turned_boxes(boxes: Tensor, size: int) -> Tensor:
    """Boxes of a slice turned a quarter to the left."""
    x0, y0, x1, y1 = boxes.unbind(1)
    return torch.stack([y0, size - x1, y1, size - x0], dim=1)


def flipped_boxes(boxes: Tensor, size: int) -> Tensor:
    """Boxes of a mirrored slice."""
    x0, y0, x1, y1 = boxes.unbind(1)
    return torch.stack([size - x1, y0, size - x0, y1], dim=1)


@pytest.mark.parametrize(
    ("move", "pixels", "corners"),
    [
        (v2.RandomHorizontalFlip(1.0), lambda plane: plane.flip(-1), flipped_boxes),
        (v2.RandomRotation((90, 90)), lambda plane: torch.rot90(plane, 1, (-2, -1)), turned_boxes),
    ],
    ids=["flip", "rotate"],
)
def test_objects_move_with_the_image(
    tmp_path: Path,
    move: torch.nn.Module,
    pixels: Callable[[Tensor], Tensor],
    corners: Callable[[Tensor, int], Tensor],
) -> None:
    before, after = one_batch(lesions(tmp_path)), one_batch(lesions(tmp_path, move))
    assert before["id"] == after["id"]
    for index, old in enumerate(before["instances"]):
        torch.testing.assert_close(after["image"][index], pixels(before["image"][index]), rtol=0, atol=1e-5)
        expected = {"boxes": corners(old["boxes"], 96), "labels": old["labels"], "masks": pixels(old["masks"])}
        assert by_box(after["instances"][index]) == by_box(expected)


@pytest.mark.parametrize("move", ["rotate", "scale"])
def test_objects_stay_on_a_marked_image(tmp_path: Path, move: str) -> None:
    batch = one_batch(lesions(tmp_path, MOVES[move], painted=True))
    check_batch({key: batch[key] for key in ("id", "image", "scan", "subject", "instances")}, "ct_slice")
    for image, instances in zip(batch["image"], batch["instances"], strict=True):
        masks = instances["masks"]
        edges = masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1])
        torch.testing.assert_close(instances["boxes"], edges)
        for label, mask in zip(instances["labels"].tolist(), masks, strict=True):
            if int(mask.sum()) > 30:
                assert float(image[0][mask == 1].median()) == pytest.approx(label / 2, abs=0.02)
        rest = image[0][masks.sum(dim=0) == 0]
        assert (rest > 0.4).float().mean() < 0.01
