"""The combo loss against closed forms in float64, and its parts against hand-made cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covidct.errors import UsageError
from covidct.losses import ComboLoss

DICE: dict[str, float] = {"bce_weight": 0.0, "focal_weight": 0.0}
BCE: dict[str, float] = {"dice_weight": 0.0, "focal_weight": 0.0}
FOCAL: dict[str, float] = {"dice_weight": 0.0, "bce_weight": 0.0}


def closed_form(
    logits: NDArray[np.float64], target: NDArray[np.float64], *, gamma: float = 2.0, smooth: float = 1.0
) -> tuple[float, float, float]:
    """Dice over the batch, cross-entropy and focal loss."""
    p = 1 / (1 + np.exp(-logits))
    dice = 1 - (2 * (p * target).sum() + smooth) / (p.sum() + target.sum() + smooth)
    true = np.where(target > 0, p, 1 - p)
    return float(dice), float(-np.log(true).mean()), float(-((1 - true) ** gamma * np.log(true)).mean())


def example() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    return 3 * rng.normal(size=(3, 1, 6, 7)), np.floor(2 * rng.random((3, 1, 6, 7)))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 2.0, 0.0), (0.0, 0.0, 3.0)])
def test_is_the_weighted_sum_of_the_closed_forms(weights: tuple[float, float, float], gamma: float) -> None:
    logits, target = example()
    loss = ComboLoss(dice_weight=weights[0], bce_weight=weights[1], focal_weight=weights[2], gamma=gamma, smooth=0.5)
    expected = np.dot(weights, closed_form(logits, target, gamma=gamma, smooth=0.5))
    found = loss(torch.tensor(logits), torch.tensor(target))
    assert found.shape == ()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_sure_and_right_is_nothing() -> None:
    target = torch.zeros(2, 1, 8, 8)
    target[:, :, 2:6] = 1
    assert ComboLoss()(40 * target - 20, target).item() == pytest.approx(0, abs=1e-6)


def test_no_idea_of_half_an_image() -> None:
    """All logits 0, half foreground: p = 1/2 everywhere."""
    target = torch.zeros(2, 1, 8, 8)
    target[:, :, :4] = 1
    logits = torch.zeros_like(target)
    assert ComboLoss(**DICE, smooth=1e-9)(logits, target).item() == pytest.approx(0.5, rel=1e-6)
    assert ComboLoss(**BCE)(logits, target).item() == pytest.approx(math.log(2), rel=1e-6)
    assert ComboLoss(**FOCAL)(logits, target).item() == pytest.approx(math.log(2) / 4, rel=1e-6)
    whole = 1 - 65 / 129 + 1.25 * math.log(2)  # 64 of 128 pixels: (2 * 32 + 1) / (64 + 64 + 1)
    assert ComboLoss()(logits, target).item() == pytest.approx(whole, rel=1e-6)


def test_dice_of_hard_masks_is_that_of_the_counts() -> None:
    rng = np.random.default_rng(1)
    found, target = (rng.random((4, 1, 9, 9)) > share for share in (0.4, 0.7))
    tp, fp, fn = (found & target).sum(), (found & ~target).sum(), (~found & target).sum()
    loss = ComboLoss(**DICE, smooth=1e-9)(torch.tensor(200.0 * found - 100), torch.tensor(target))
    assert 1 - loss.item() == pytest.approx(2 * tp / (2 * tp + fp + fn), rel=1e-6)


def test_dice_is_of_the_batch_not_of_each_image() -> None:
    """One image found whole, of one nothing: the larger one counts more."""
    target = torch.zeros(2, 1, 4, 4)
    target[0, 0, 0, :2] = target[1] = 1
    found = target.clone()
    found[0] = 0
    loss = ComboLoss(**DICE, smooth=1e-9)(200 * found - 100, target)
    assert loss.item() == pytest.approx(1 - 2 * 16 / (16 + 18), rel=1e-6)


def test_both_lungs_are_one() -> None:
    logits, target = (torch.tensor(array) for array in example())
    sides = (target * 2).to(torch.uint8)
    assert ComboLoss()(logits, sides).item() == ComboLoss()(logits, target).item()


def test_is_float32_under_autocast() -> None:
    logits, target = (torch.tensor(array) for array in example())
    half = logits.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ComboLoss()(half, target)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(sum(closed_form(half.double().numpy(), target.numpy())), rel=1e-5)


@pytest.mark.parametrize("height", [0.0, 30.0, 1e4])
@pytest.mark.parametrize("inside", [0.0, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_extreme_logits_have_finite_values_and_gradients(height: float, inside: float, gamma: float) -> None:
    logits = torch.tensor([[[[height, -height]]]], requires_grad=True)
    loss = ComboLoss(gamma=gamma)(logits, torch.full((1, 1, 1, 2), inside))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    "options", [{"dice_weight": -1.0}, {"bce_weight": -1.0}, {"focal_weight": -1.0}, {"gamma": -1.0}, {"smooth": 0.0}]
)
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        ComboLoss(**options)


@pytest.mark.parametrize(("logits", "target"), [((2, 2, 4, 4), (2, 1, 4, 4)), ((2, 1, 4, 4), (2, 4, 4))])
def test_shapes_that_do_not_belong_together_are_refused(logits: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="ComboLoss needs"):
        ComboLoss()(torch.zeros(logits), torch.zeros(target))
