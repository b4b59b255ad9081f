"""Focal loss against a hand loop, closed forms and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.losses import FocalLoss, focal_loss

GAMMAS = [0.0, 0.3, 1.0, 2.0, 5.0]


def example(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(7, 3, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.tensor([0, 1, 2, 2, 0, 1, 2])


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("weight", [None, [0.5, 0.0, 3.0]])
def test_is_the_formula_sample_by_sample(gamma: float, weight: list[float] | None) -> None:
    logits, target = example()
    total = 0.0
    for row, label in zip(logits.double().numpy(), target.tolist(), strict=True):
        p = math.exp(row[label]) / sum(math.exp(value) for value in row)
        total += (1.0 if weight is None else weight[label]) * (1 - p) ** gamma * -math.log(p)
    found = FocalLoss(gamma, weight=weight)(logits, target)
    assert found.shape == ()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(total / len(target), rel=1e-5)


def test_gamma_0_is_cross_entropy() -> None:
    logits, target = example()
    expected = torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(FocalLoss(0.0)(logits, target), expected)


def test_the_value_of_a_sure_sample() -> None:
    logits = torch.tensor([[math.log(0.9), math.log(0.1)]])
    assert FocalLoss()(logits, torch.tensor([0])).item() == pytest.approx(0.01 * 0.10536052, rel=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradients_are_those_of_finite_differences(gamma: float) -> None:
    logits, target = example(torch.float64)
    weight = torch.tensor([0.5, 1.0, 3.0])
    assert torch.autograd.gradcheck(
        lambda x: focal_loss(x, target, gamma=gamma, weight=weight), logits.requires_grad_()
    )


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("gap", [0.0, 5.0, 17.0, 60.0, 1e4, 1e30])
def test_extreme_logits_have_finite_values_and_gradients(gamma: float, gap: float) -> None:
    logits = torch.tensor([[gap, 0.0, -gap], [0.0, gap, -gap]], requires_grad=True)
    (grad,) = torch.autograd.grad(FocalLoss(gamma)(logits, torch.tensor([0, 0])), logits)
    assert grad.isfinite().all()
    cross = gap if gap > 60 else math.log(1 + math.exp(gap) + math.exp(-gap))
    wrong = FocalLoss(gamma)(torch.tensor([[0.0, gap, -gap]]), torch.tensor([0]))
    assert wrong.item() == pytest.approx((1 - math.exp(-cross)) ** gamma * cross, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_keeps_its_digits_near_certainty(gamma: float) -> None:
    """Where 1 - p in float32 would have none left."""
    logits = torch.tensor([[12.0, 0.0]], dtype=torch.float64)
    rest = 1 / (1 + math.exp(12))
    found = focal_loss(logits, torch.tensor([0]), gamma=gamma).item()
    assert found == pytest.approx(rest**gamma * -math.log1p(-rest), rel=1e-9)
    single = focal_loss(logits.float(), torch.tensor([0]), gamma=gamma).item()
    assert single == pytest.approx(found, rel=0.02)


def test_is_float32_under_autocast() -> None:
    logits, target = example(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = FocalLoss()(logits, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, FocalLoss()(logits.float(), target))
    half = torch.tensor([[60000.0, -60000.0]], dtype=torch.float16)
    assert FocalLoss()(half, torch.tensor([1])).item() == pytest.approx(119_936, rel=1e-3)


def test_class_weights_travel_with_the_loss() -> None:
    loss = FocalLoss(weight=[1.0, 2.0])
    assert loss.state_dict()["weight"].tolist() == [1, 2]
    assert FocalLoss().state_dict() == {}
    assert loss.to(torch.float64).weight is not None


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf")])
def test_wrong_gamma_is_refused(gamma: float) -> None:
    with pytest.raises(UsageError, match="gamma"):
        FocalLoss(gamma)


@pytest.mark.parametrize("weight", [[1.0, -1.0], [1.0, float("nan")], [float("inf"), 1.0]])
def test_wrong_weights_are_refused(weight: list[float]) -> None:
    with pytest.raises(UsageError, match="weight"):
        FocalLoss(weight=weight)


def test_unlike_shapes_are_refused() -> None:
    logits, target = example()
    for wrong in (target[:3], target[:, None], torch.from_numpy(np.eye(7, 3))):
        with pytest.raises(UsageError, match="needs logits"):
            FocalLoss()(logits, wrong)
    with pytest.raises(UsageError, match="2 class weights for 3"):
        FocalLoss(weight=[1.0, 2.0])(logits, target)
