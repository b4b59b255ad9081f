"""Dice and surface distances against closed forms and brute force; absent lungs; each scan once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from covidct.errors import UsageError
from covidct.metrics import SegmentationMetrics, segmentation_scores

SPACING = torch.tensor([[2.0, 1.0, 1.5]])


def lungs(shape: tuple[int, int, int] = (14, 16, 24)) -> torch.Tensor:
    mask = torch.zeros(1, 1, *shape, dtype=torch.uint8)
    mask[..., 3:11, 4:12, 2:9] = 1
    mask[..., 4:10, 5:12, 14:21] = 2
    return mask


def brute_hd95(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: NDArray[np.float64]) -> float:
    """All distances between all surface voxels."""
    points = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * spacing for mask in (one, other)]
    table = cdist(*points)
    return max(float(np.percentile(table.min(axis), 95)) for axis in (0, 1))


@pytest.mark.parametrize("seed", range(3))
def test_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = lungs()
    pred = target.clone()
    pred[torch.tensor(rng.random(target.shape) < 0.03)] = 0
    pred[..., 2:11, 4:13, 2 + seed : 9] = 1
    scores = segmentation_scores(pred, target, structures=2, spacing=SPACING)
    assert scores.shape == (1, 2, 3)
    assert scores.dtype == torch.float32
    for label in (1, 2):
        one, other = (mask[0, 0].numpy() == label for mask in (pred, target))
        dice = 2 * (one & other).sum() / (one.sum() + other.sum())
        assert scores[0, label - 1, 0].item() == pytest.approx(dice, rel=1e-6)
        hd95 = brute_hd95(one, other, SPACING[0].double().numpy())
        assert scores[0, label - 1, 1].item() == pytest.approx(hd95, rel=1e-5)


def test_equal_masks_are_perfect() -> None:
    scores = segmentation_scores(lungs(), lungs(), structures=2, spacing=SPACING)
    assert scores.tolist() == [[[1.0, 0.0, 1.0]] * 2]


def test_surface_dice_is_the_share_of_area_within_the_tolerance_in_mm() -> None:
    """Boxes that differ at one face: of that face all but the rim is off, of the longer one's sides a strip."""
    side, short, long = 20, 10, 13
    pred, target = (torch.zeros(1, 1, 20, 26, 26, dtype=torch.uint8) for _ in range(2))
    pred[..., 3 : 3 + short, 3 : 3 + side, 3 : 3 + side] = 1
    target[..., 3 : 3 + long, 3 : 3 + side, 3 : 3 + side] = 1

    def nsd(mm: float) -> float:
        spacing = torch.full((1, 3), mm)
        return segmentation_scores(pred, target, structures=1, spacing=spacing, tolerance_mm=1.0)[0, 0, 2].item()

    area = 4 * side**2 + 4 * side * (short + long)
    # at 1 mm per voxel: the shorter box's face but for 1 mm from the longer one's sides, the longer one's whole face,
    # and its sides beyond 1 mm from the shorter box
    off = (side - 2) ** 2 + side**2 + 4 * side * (long - short - 1)
    assert nsd(1.0) == pytest.approx(1 - off / area, abs=0.03)
    assert nsd(0.3) == pytest.approx(1.0, abs=1e-6)  # the step of 3 voxels is 0.9 mm now


def test_the_tolerance_decides() -> None:
    pred = lungs().roll(2, 4)  # 3 mm to the left
    shares = [
        segmentation_scores(pred, lungs(), structures=1, spacing=SPACING, tolerance_mm=mm)[0, 0, 2].item()
        for mm in (0.5, 1.0, 3.0)
    ]
    assert shares[0] <= shares[1] < shares[2] == pytest.approx(1.0)
    with pytest.raises(UsageError, match="tolerance_mm"):
        segmentation_scores(pred, pred, structures=1, tolerance_mm=-1.0)


def test_an_absent_lung_is_left_out_and_an_invented_one_counts() -> None:
    right_only = torch.where(lungs() == 1, lungs(), 0)
    both, diagonal = lungs(), math.dist((0, 0, 0), (14 * 2.0, 16 * 1.0, 24 * 1.5))
    neither = segmentation_scores(right_only, right_only, structures=2, spacing=SPACING)[0]
    assert neither[1].isnan().all()
    for pred, target in ((both, right_only), (right_only, both)):
        left = segmentation_scores(pred, target, structures=2, spacing=SPACING)[0, 1]
        assert left.tolist() == pytest.approx([0.0, diagonal, 0.0], rel=1e-6)


def test_unknown_spacing_leaves_the_overlap() -> None:
    for spacing in (None, torch.full((1, 3), torch.nan)):
        scores = segmentation_scores(lungs(), lungs(), structures=2, spacing=spacing)
        assert scores[..., 0].tolist() == [[1.0, 1.0]]
        assert scores[..., 1:].isnan().all()


def test_means_over_scans_each_once() -> None:
    metrics = SegmentationMetrics(("right_lung", "left_lung"))
    target = torch.cat([lungs(), lungs(), torch.where(lungs() == 1, lungs(), 0)])
    pred = target.clone()
    pred[1, :, :, 4:10, 14:21] = torch.where(pred[1, :, :, 4:10, 14:21] == 2, 0, pred[1, :, :, 4:10, 14:21])
    spacing, scan = SPACING.repeat(3, 1), torch.tensor([7, 3, 5])
    metrics.update(pred[:2], target[:2], scan=scan[:2], spacing=spacing[:2])
    metrics.update(pred, target, scan=scan, spacing=spacing)  # two of them again
    found = {name: value.item() for name, value in metrics.compute().items()}
    scores = segmentation_scores(pred, target, structures=2, spacing=spacing).numpy()
    assert np.isnan(scores[2, 1]).all()
    for place, name in enumerate(("dice", "hd95", "surface_dice")):
        assert found[f"{name}_right_lung"] == pytest.approx(scores[:, 0, place].mean(), rel=1e-6)
        assert found[f"{name}_left_lung"] == pytest.approx(scores[:2, 1, place].mean(), rel=1e-6)
        assert found[name] == pytest.approx(np.nanmean(scores[..., place]), rel=1e-6)
    assert len(found) == 9


def test_without_distances_and_without_scans() -> None:
    metrics = SegmentationMetrics(("right_lung", "left_lung"), distances=False)
    assert {name: value.isnan().item() for name, value in metrics.compute().items()} == {
        "dice": True,
        "dice_right_lung": True,
        "dice_left_lung": True,
    }


def test_works_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = segmentation_scores(lungs().roll(1, 2), lungs(), structures=2, spacing=SPACING)
    assert scores.equal(segmentation_scores(lungs().roll(1, 2), lungs(), structures=2, spacing=SPACING))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="two label volumes"):
        segmentation_scores(lungs()[0], lungs()[0], structures=2)
    with pytest.raises(UsageError, match="scan of shape"):
        SegmentationMetrics(("lung",)).update(lungs(), lungs(), scan=torch.tensor([1, 2]))
    with pytest.raises(UsageError, match="at least one"):
        SegmentationMetrics(())
