from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandAffined, RandFlipd
from torchvision.transforms import v2

from covidct.errors import UsageError
from covidct.sample import Kind, Sample, check_sample
from covidct.transforms import Augment, default_augment

KEYS = ("image", "lung_mask", "lesion_mask")
MODES = ("bilinear", "nearest", "nearest")


def marked(kind: Kind, size: int = 48) -> Sample:
    """Two bright squares of unlike size: the right lung (1) at low width, the left (2) at high width."""
    plane = torch.zeros(size, size)
    mask = torch.zeros(size, size, dtype=torch.uint8)
    for label, (top, left, side) in ((1, (10, 6, 14)), (2, (20, 30, 10))):
        plane[top : top + side, left : left + side] = 0.4 * label
        mask[top : top + side, left : left + side] = label
    lesion = (mask == 2).to(torch.uint8)
    sample = Sample(
        image=plane[None],
        lung_mask=mask[None],
        subject=torch.tensor(1),
        scan=torch.tensor(2),
        label=torch.tensor(0),
        id="x",
    )
    if kind == "ct_slice":
        sample["lesion_mask"] = lesion[None]
        boxes = torch.tensor([[6.0, 10.0, 20.0, 24.0], [30.0, 20.0, 40.0, 30.0]])
        masks = torch.stack([mask == 1, mask == 2]).to(torch.uint8)
        sample["instances"] = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks}
    if kind == "ct_volume":
        sample["lesion_mask"] = lesion[None]
        for key in KEYS:
            sample[key] = sample[key][:, None].repeat(1, 6, 1, 1)  # type: ignore[literal-required]
        sample["affine"] = torch.eye(4, dtype=torch.float64)
        sample["slice_label"] = torch.arange(6)
        sample["slice_mask"] = torch.tensor([True] * 5 + [False])
    return sample


def labels_of(image: torch.Tensor) -> torch.Tensor:
    """Which square a pixel belongs to, read from its brightness."""
    return (image > 0.2).to(torch.uint8) + (image > 0.6).to(torch.uint8)


MOVES = {
    "flip": (RandFlipd(KEYS, prob=1.0, spatial_axis=2, allow_missing_keys=True), v2.RandomHorizontalFlip(1.0), True),
    "rotate": (
        RandAffined(KEYS, prob=1.0, rotate_range=((0.3, 0.3), 0.0, 0.0), mode=MODES, allow_missing_keys=True),
        v2.RandomRotation((20, 20)),
        False,
    ),
    "scale": (
        RandAffined(KEYS, prob=1.0, scale_range=((0, 0), (0.3, 0.3), (0.3, 0.3)), mode=MODES, allow_missing_keys=True),
        v2.RandomAffine(0, scale=(1.3, 1.3)),
        False,
    ),
}


@pytest.mark.parametrize("kind", ["ct_volume", "ct_slice", "cxr"])
@pytest.mark.parametrize("move", MOVES)
def test_masks_and_boxes_move_with_the_image(kind: Kind, move: str) -> None:
    monai, torchvision, mirrored = MOVES[move]
    before = marked(kind)
    after = Augment(monai if kind == "ct_volume" else torchvision)(before, seed=1)
    check_sample(after, kind)
    assert not torch.equal(after["image"], before["image"])
    painted = labels_of(after["image"])  # 1 where the right lung's square went, 2 for the left one's
    expected = torch.tensor([0, 2, 1], dtype=torch.uint8)[painted.long()] if mirrored else painted
    agree = (after["lung_mask"] == expected).float().mean()
    assert agree > 0.98  # bilinear and nearest differ on the rims
    if "lesion_mask" in after:
        assert ((after["lesion_mask"] > 0) == (painted == 2)).float().mean() > 0.99
    if "instances" in after:
        for box, label in zip(after["instances"]["boxes"], after["instances"]["labels"], strict=True):
            rows, columns = torch.nonzero(painted[0] == label, as_tuple=True)
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(box.numpy(), [float(edge) for edge in seen], atol=1.5)


def test_affine_is_dropped_and_types_stay_plain() -> None:
    after = Augment(MOVES["flip"][0])(marked("ct_volume"), seed=0)
    assert "affine" not in after
    assert all(type(value) in (torch.Tensor, str) for value in after.values())


def test_unsided_masks_are_not_swapped() -> None:
    sample = marked("cxr")
    sample["lung_mask"] = (sample["lung_mask"] > 0).to(torch.uint8)
    after = Augment(v2.RandomHorizontalFlip(1.0))(sample, seed=0)
    assert torch.equal(after["lung_mask"], sample["lung_mask"].flip(-1))


def test_half_turn_is_no_mirror() -> None:
    after = Augment(v2.RandomRotation((180, 180)))(marked("cxr"), seed=0)
    assert torch.equal(after["lung_mask"], marked("cxr")["lung_mask"].flip(-1, -2))


def test_flip_of_the_depth_turns_the_slice_keys() -> None:
    after = Augment(RandFlipd(KEYS, prob=1.0, spatial_axis=0))(marked("ct_volume"), seed=0)
    assert after["slice_label"].tolist() == [5, 4, 3, 2, 1, 0]
    assert after["slice_mask"].tolist() == [False] + [True] * 5
    assert set(after["lung_mask"][0, 0].flatten().tolist()) == {0, 1, 2}


def test_change_of_depth_is_refused() -> None:
    from monai.transforms import SpatialPadd

    with pytest.raises(UsageError, match="number of slices"):
        Augment(SpatialPadd(KEYS, (9, 48, 48)))(marked("ct_volume"), seed=0)


def test_box_that_leaves_the_picture_is_dropped() -> None:
    after = Augment(v2.CenterCrop(12))(marked("ct_slice"), seed=0)
    assert after["instances"]["labels"].tolist() == [1]
    check_sample(after, "ct_slice")


def legacy_state() -> str:
    """numpy's global random state."""
    return str(np.random.get_state(legacy=False))  # noqa: NPY002


@pytest.mark.parametrize("kind", ["ct_volume", "ct_slice", "cxr"])
def test_default_depends_on_the_seed_alone(kind: Kind) -> None:
    augment = default_augment(kind)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    states = torch.get_rng_state(), legacy_state()
    first = augment(marked(kind), seed=(0, 1, 2, 3))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert legacy_state() == states[1]
    augment(marked(kind), seed=(9, 9, 9, 9))
    again = pickle.loads(pickle.dumps(augment))(marked(kind), seed=(0, 1, 2, 3))  # noqa: S301
    for key in ("image", "lung_mask"):
        assert torch.equal(first[key], again[key])
    other = augment(marked(kind), seed=(0, 2, 2, 3))
    assert not torch.equal(first["image"], other["image"])
    check_sample(first, kind)


@pytest.mark.parametrize("kind", ["ct_volume", "ct_slice", "cxr"])
def test_default_keeps_masks_on_the_image_and_within_the_published_ranges(kind: Kind) -> None:
    augment = default_augment(kind)
    mirrored = 0
    for seed in range(40):
        after = augment(marked(kind), seed=seed)
        check_sample(after, kind)
        right, left = after["lung_mask"] == 1, after["lung_mask"] == 2
        mirrored += bool(right.sum() < left.sum())  # the larger square is the patient's right before the mirror
        small, large = sorted((int(right.sum()), int(left.sum())))
        depth = right.shape[1] if kind == "ct_volume" else 1
        assert 0.75 * 100 <= small / depth <= 1.35 * 100
        assert 0.75 * 196 <= large / depth <= 1.35 * 196
        inside, outside = after["image"][right | left], after["image"][~(right | left)]
        assert inside.mean() > 0.35 > outside.mean()
    assert 10 <= mirrored <= 30


def test_volume_default_is_the_same_on_all_slices() -> None:
    after = default_augment("ct_volume")(marked("ct_volume"), seed=3)
    assert torch.equal(after["lung_mask"][0, 0], after["lung_mask"][0, -1])


def test_noise_variance_is_within_the_published_bound() -> None:
    grey = Sample(image=torch.full((1, 64, 64), 0.5), id="x", subject=torch.tensor(0), scan=torch.tensor(0))
    augment = default_augment("cxr")
    variances = [float(augment(grey, seed=seed)["image"][0, 24:40, 24:40].var()) for seed in range(40)]
    assert max(variances) <= 0.015 * 1.3  # sampling error of 256 pixels
    assert 8 <= sum(variance < 1e-6 for variance in variances) <= 32
    assert math.isclose(max(variances), 0.015, rel_tol=0.4)


def test_compose_of_monai_is_seeded_through() -> None:
    augment = Augment(Compose([MOVES["rotate"][0], RandFlipd(KEYS, prob=0.5, spatial_axis=2)]))
    runs = [[augment(marked("ct_volume"), seed=s)["image"] for s in range(6)] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


class _Spoil(torch.nn.Module):
    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        image = data["image"].clone()
        image[..., 0, 0] = float("nan")
        return data | {"image": image}


def test_nan_is_refused() -> None:
    with pytest.raises(UsageError, match="gives NaN for the sample 'x'"):
        Augment(_Spoil())(marked("cxr"), seed=1)
