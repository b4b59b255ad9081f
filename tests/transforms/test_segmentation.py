"""Augmentation for segmentation: sides, masks and image stay together, and a configuration can name it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from monai.data import MetaTensor

from covidct.errors import UsageError
from covidct.sample import Sample, check_sample
from covidct.transforms import Augment, RandFieldOfViewd, segmentation_augment

PLAIN: dict[str, Any] = {"flip": 0.0, "affine": 0.0, "crop": 0.0, "intensity": 0.0}


def marked(size: int = 32) -> Sample:
    """Two boxes that brightness alone tells apart: right (1, 0.4) at low width, left (2, 0.8), smaller, at high."""
    mask = torch.zeros(1, size, size, size, dtype=torch.uint8)
    mask[:, 8:26, 8:24, 4:14] = 1
    mask[:, 12:24, 10:22, 19:28] = 2
    return Sample(
        image=0.4 * mask.float(),
        lung_mask=mask,
        subject=torch.tensor(1),
        scan=torch.tensor(2),
        slice_mask=torch.ones(size, dtype=torch.bool),
        spacing=torch.ones(3),
        id="x",
    )


def values(tensor: torch.Tensor) -> list[float]:
    """Different values, ascending."""
    return sorted(set(tensor.flatten().tolist()))


def inside(mask: torch.Tensor) -> torch.Tensor:
    """Voxels whose 3x3x3 neighbourhood has one label: interpolation blurs the others."""
    values = mask[None].float()
    pool = torch.nn.functional.max_pool3d
    return (pool(values, 3, 1, 1) == -pool(-values, 3, 1, 1))[0]


def test_a_flip_swaps_the_labels_of_right_and_left() -> None:
    before = marked()
    after = segmentation_augment(**{**PLAIN, "flip": 1.0})(before, seed=0)
    assert after["image"].equal(before["image"].flip(3))
    bright = after["image"] > 0.6  # was the patient's left lung, and lies on the image's right side now
    assert torch.nonzero(bright)[:, 3].max() < 16
    assert values(after["lung_mask"][bright]) == [1]
    assert values(after["lung_mask"][(after["image"] > 0.2) & ~bright]) == [2]


@pytest.mark.parametrize(("only", "becomes"), [(1, 2), (2, 1)])
def test_a_flip_swaps_the_label_of_a_single_lung(only: int, becomes: int) -> None:
    before = marked()
    before["lung_mask"][before["lung_mask"] != only] = 0
    after = segmentation_augment(**{**PLAIN, "flip": 1.0})(before, seed=0)
    assert after["lung_mask"].equal(before["lung_mask"].flip(3) // only * becomes)


@pytest.mark.parametrize("seed", range(6))
def test_masks_move_with_the_image(seed: int) -> None:
    mirrored = seed % 2 == 1
    options = {**PLAIN, "flip": float(mirrored), "affine": 1.0, "shift": 3.0}
    before = marked()
    after = segmentation_augment(**options)(before, seed=seed)
    check_sample(after, "ct_volume")
    assert not after["lung_mask"].equal(before["lung_mask"])
    painted = (after["image"] > 0.2).to(torch.uint8) + (after["image"] > 0.6).to(torch.uint8)
    expected = torch.tensor([0, 2, 1], dtype=torch.uint8)[painted.long()] if mirrored else painted
    sure = inside(after["lung_mask"])
    assert (expected == after["lung_mask"])[sure].float().mean() > 0.99
    assert values(after["lung_mask"]) == [0, 1, 2]
    across = [torch.nonzero(after["lung_mask"] == side)[:, 3].float().mean() for side in (1, 2)]
    assert across[0] < across[1]  # the right lung lies at low width, mirrored or not


def test_intensity_changes_the_image_alone() -> None:
    before = marked()
    after = segmentation_augment(**{**PLAIN, "intensity": 1.0})(before, seed=3)
    assert after["lung_mask"].equal(before["lung_mask"])
    assert not after["image"].equal(before["image"])
    assert 0 <= after["image"].min() <= after["image"].max() <= 1


def test_the_field_of_view_is_a_box_that_hides_the_rest() -> None:
    image, mask = torch.full((1, 20, 24, 28), 0.5), torch.ones(1, 20, 24, 28, dtype=torch.uint8)
    crop = RandFieldOfViewd(("image", "lung_mask"), prob=1.0, smallest=0.6, fill=0.1)
    crop.set_random_state(seed=5)
    sizes = []
    for _ in range(20):
        out = crop({"image": MetaTensor(image), "lung_mask": MetaTensor(mask)})
        seen = out["lung_mask"] == 1
        assert values(out["image"][seen]) == pytest.approx([0.5])
        assert values(out["image"][~seen]) in ([], pytest.approx([0.1]))
        where = torch.nonzero(seen)
        extent = where.max(0).values - where.min(0).values + 1
        assert int(extent.prod()) == int(seen.sum())  # a box
        sizes.append(extent[1:] / torch.tensor([20, 24, 28]))
    shares = torch.stack(sizes)
    assert 0.57 < shares.min() < 0.7  # 0.6, rounded to voxels
    assert 0.9 < shares.max() <= 1
    assert values(image) == [0.5]


def test_the_same_seed_gives_the_same_sample() -> None:
    augment = segmentation_augment()
    again = pickle.loads(pickle.dumps(augment))  # noqa: S301
    one, other, third = augment(marked(), seed=(1, 2)), again(marked(), seed=(1, 2)), augment(marked(), seed=(1, 3))
    assert one["image"].equal(other["image"])
    assert one["lung_mask"].equal(other["lung_mask"])
    assert not one["image"].equal(third["image"])


def test_a_configuration_can_name_it() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--train_transform", type=Augment | None)
    value = {"class_path": "covidct.transforms.segmentation_augment", "init_args": {"degrees": 3.0, "flip": 1.0}}
    made = parser.instantiate(parser.parse_object({"train_transform": value}))
    assert isinstance(made.train_transform, Augment)
    assert made.train_transform(marked(), seed=0)["image"].shape == (1, 32, 32, 32)


@pytest.mark.parametrize(
    "options",
    [
        {"flip": 1.5},
        {"degrees": -1.0},
        {"scale": 1.0},
        {"gamma": (0.0, 1.0)},
        {"gamma": (1.0,)},
        {"gamma": (1.5, 0.7)},
        {"smallest_field": 0.0},
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        segmentation_augment(**options)
