"""Dice and cross-entropy against closed forms in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covidct.errors import UsageError
from covidct.losses import DiceBCELoss, DiceCELoss


def closed_form(logits: NDArray[np.float64], target: NDArray[np.int64]) -> float:
    """Soft Dice of the foreground per sample and class, and cross-entropy."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    batch, classes = p.shape[:2]
    dice = []
    for b in range(batch):
        for c in range(1, classes):
            g = (target[b, 0] == c).astype(float)
            dice.append(1 - (2 * (p[b, c] * g).sum() + 1e-5) / (p[b, c].sum() + g.sum() + 1e-5))
    own = np.take_along_axis(p, target, 1)
    return float(np.mean(dice) - np.log(own).mean())


def example(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, 3, 4, 5, 6)), rng.integers(0, 3, (2, 1, 4, 5, 6))


def test_equals_the_closed_form() -> None:
    logits, target = example()
    found = DiceCELoss()(torch.tensor(logits), torch.tensor(target, dtype=torch.uint8))
    assert found.item() == pytest.approx(closed_form(logits, target), rel=1e-5)


def test_weights_part_the_two_terms() -> None:
    logits, target = (torch.tensor(array) for array in example())
    dice = DiceCELoss(ce_weight=0.0)(logits, target)
    cross = DiceCELoss(dice_weight=0.0)(logits, target)
    expected = torch.nn.functional.cross_entropy(logits, target[:, 0])
    assert cross.item() == pytest.approx(expected.item(), rel=1e-5)
    both = DiceCELoss(dice_weight=2.0, ce_weight=3.0)(logits, target)
    assert both.item() == pytest.approx(2 * dice.item() + 3 * cross.item(), rel=1e-5)
    with pytest.raises(UsageError, match="negative"):
        DiceCELoss(dice_weight=-1.0)


def test_a_sure_right_answer_costs_nothing_and_a_wrong_one_much() -> None:
    _, target = example()
    one_hot = torch.nn.functional.one_hot(torch.tensor(target[:, 0]), 3).movedim(-1, 1).float()
    assert DiceCELoss()(40 * one_hot, torch.tensor(target)).item() < 1e-5
    assert DiceCELoss(ce_weight=0.0)(40 * one_hot.roll(1, 1), torch.tensor(target)).item() == pytest.approx(1, abs=1e-3)


def test_a_batch_is_the_mean_of_its_samples() -> None:
    logits, target = (torch.tensor(array) for array in example())
    loss = DiceCELoss()
    each = [loss(logits[i : i + 1], target[i : i + 1]).item() for i in range(2)]
    assert loss(logits, target).item() == pytest.approx(np.mean(each), rel=1e-5)


def test_is_float32_under_autocast() -> None:
    """Of 2 million voxels, which half precision cannot count."""
    logits = torch.zeros(1, 3, 64, 128, 256, dtype=torch.bfloat16)
    target = torch.ones(1, 1, 64, 128, 256, dtype=torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = DiceCELoss()(logits, target)
    assert found.dtype == torch.float32
    # right lung: 1 - 2/3 n / (4/3 n) = 1/2; left lung, absent: 1
    assert found.item() == pytest.approx((0.5 + 1) / 2 + np.log(3), rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 1, 4, 5, 7), (2, 4, 5, 6), (1, 1, 4, 5, 6)])
def test_unlike_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="DiceCELoss needs"):
        DiceCELoss()(torch.zeros(2, 3, 4, 5, 6), torch.zeros(shape, dtype=torch.uint8))


def test_one_structure_equals_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    logits, target = rng.normal(size=(3, 1, 5, 6)), rng.integers(0, 2, (3, 1, 5, 6))
    target[1] = 0  # no structure: no Dice term
    p = 1 / (1 + np.exp(-logits))
    dice = [
        1 - (2 * (p[b] * target[b]).sum() + 1e-5) / (p[b].sum() + target[b].sum() + 1e-5) if target[b].any() else 0.0
        for b in range(3)
    ]
    cross = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
    found = DiceBCELoss()(torch.tensor(logits), torch.tensor(2 * target, dtype=torch.uint8))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(np.mean(dice) + cross, rel=1e-5)
    parted = DiceBCELoss(dice_weight=2.0, bce_weight=3.0)(torch.tensor(logits), torch.tensor(target))
    assert parted.item() == pytest.approx(2 * np.mean(dice) + 3 * cross, rel=1e-5)


def test_one_structure_in_half_precision_and_wrong_arguments() -> None:
    logits = torch.zeros(1, 1, 2048, 1024, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = DiceBCELoss()(logits, torch.ones(logits.shape, dtype=torch.uint8))
    assert found.item() == pytest.approx(1 - 2 * 0.5 / 1.5 + np.log(2), rel=1e-5)
    with pytest.raises(UsageError, match="negative"):
        DiceBCELoss(bce_weight=-1.0)
    for shape in ((1, 2, 4, 4), (2, 1, 4, 4)):
        with pytest.raises(UsageError, match="DiceBCELoss needs"):
            DiceBCELoss()(torch.zeros(1, 1, 4, 4), torch.zeros(shape))
