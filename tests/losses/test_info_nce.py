"""InfoNCE against a loop in float64 and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covidct.errors import UsageError
from covidct.losses import InfoNCELoss


def by_hand(
    query: NDArray[np.float64], key: NDArray[np.float64], queue: NDArray[np.float64], temperature: float
) -> float:
    """The mean of the published equation, one sum at a time."""
    losses = []
    for q, k in zip(query, key, strict=True):
        own = math.exp(float(q @ k) / math.hypot(*q) / math.hypot(*k) / temperature)
        others = [math.exp(float(q @ n) / math.hypot(*q) / math.hypot(*n) / temperature) for n in queue]
        losses.append(-math.log(own / (own + sum(others))))
    return float(np.mean(losses))


def example() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 5)), rng.normal(size=(3, 5)), rng.normal(size=(7, 5))


@pytest.mark.parametrize("temperature", [0.07, 0.2, 3.0])
def test_equals_the_loop(temperature: float) -> None:
    vectors = example()
    found = InfoNCELoss(temperature)(*(torch.tensor(array) for array in vectors))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(by_hand(*vectors, temperature), rel=1e-5)


def test_orthogonal_vectors_have_a_closed_form() -> None:
    axes = torch.eye(8)
    alike = InfoNCELoss(0.5)(axes[:2], axes[:2], axes[2:])  # own key at 1, six negatives at 0
    assert alike.item() == pytest.approx(math.log(1 + 6 * math.exp(-2)), rel=1e-6)
    lost = InfoNCELoss(0.5)(axes[:2], axes[2:4], axes[4:])  # all at 0: one of five
    assert lost.item() == pytest.approx(math.log(5), rel=1e-6)


def test_gradient_is_the_numerical_one() -> None:
    query, key, queue = (torch.tensor(array) for array in example())
    query.requires_grad_()
    torch.autograd.backward(InfoNCELoss(0.2)(query, key, queue))
    assert query.grad is not None
    for place in ((0, 0), (2, 3)):
        step = np.zeros(query.shape)
        step[place] = 1e-4
        low, high = (by_hand(query.detach().numpy() + s * step, key.numpy(), queue.numpy(), 0.2) for s in (-1, 1))
        assert query.grad[place].item() == pytest.approx((high - low) / 2e-4, rel=1e-2, abs=1e-4)


def test_logits_put_the_positive_first() -> None:
    query, key, queue = (torch.tensor(array) for array in example())
    logits = InfoNCELoss(0.1).logits(query, key, queue)
    assert logits.shape == (3, 8)
    torch.testing.assert_close(logits[:, 0].double(), torch.cosine_similarity(query, key) * 10, rtol=1e-5, atol=1e-5)
    assert InfoNCELoss(0.1).from_logits(logits) == InfoNCELoss(0.1)(query, key, queue)


def test_is_float32_under_autocast() -> None:
    vectors = [torch.tensor(array).float() for array in example()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = InfoNCELoss()(*vectors)
    assert found.equal(InfoNCELoss()(*vectors))
    half = InfoNCELoss()(*(vector.to(torch.bfloat16) for vector in vectors))
    assert half.dtype == torch.float32


def test_wrong_arguments_are_named() -> None:
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="temperature"):
            InfoNCELoss(temperature)
    good = torch.rand(2, 4)
    for key, queue in ((torch.rand(3, 4), good), (good, torch.rand(2, 5)), (good, torch.rand(4))):
        with pytest.raises(UsageError, match=r"queue \(K, d\)"):
            InfoNCELoss()(good, key, queue)
