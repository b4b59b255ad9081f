"""Ranked regions against greedy suppression by hand, for every number of survivors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covidct.errors import UsageError
from covidct.functional import rank_regions

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.functional import RankedRegions

SIZE = (60, 80)


def candidates(seed: int, counts: list[int], *, classes: int = 3) -> dict[str, Tensor]:
    """Regions of several images, some of them outside the image or without area."""
    rng = torch.Generator().manual_seed(seed)
    total = sum(counts)
    low = torch.rand(total, classes, 2, generator=rng) * 90 - 10
    boxes = torch.cat([low, low + torch.rand(total, classes, 2, generator=rng) * 40 - 4], 2)
    return {
        "class_logits": torch.randn(total, classes, generator=rng),
        "box_regression": torch.randn(total, 4 * classes, generator=rng),
        "boxes": boxes,
    }


def ranked(given: dict[str, Tensor], counts: list[int], number: int = 20, threshold: float = 0.5) -> RankedRegions:
    return rank_regions(**given, regions_per_image=counts, image_size=SIZE, num_regions=number, nms_threshold=threshold)


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    both = float(np.prod(np.clip(sides, 0, None)))
    return both / float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both)


def by_hand(given: dict[str, Tensor], number: int, threshold: float) -> list[NDArray[np.float64]]:
    """Rows of one image: greedy suppression class by class, best first, the list then stretched to ``number``."""
    logits, boxes = given["class_logits"].double().numpy(), given["boxes"].double().numpy()
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    moves = given["box_regression"].double().numpy().reshape(len(logits), logits.shape[1], 4)
    boxes[..., 0::2], boxes[..., 1::2] = boxes[..., 0::2].clip(0, SIZE[1]), boxes[..., 1::2].clip(0, SIZE[0])
    pairs = [(r, c) for r in range(len(logits)) for c in range(1, logits.shape[1])]
    pairs = [(r, c) for r, c in pairs if (boxes[r, c, 2:] > boxes[r, c, :2]).all()]
    kept: list[tuple[int, int]] = []
    for region, label in sorted(pairs, key=lambda pair: -scores[pair]):
        rivals = [boxes[pair] for pair in kept if pair[1] == label]
        if all(overlap(boxes[region, label], rival) <= threshold for rival in rivals):
            kept.append((region, label))
    rows = [np.array([scores[pair], *moves[pair]]) for pair in kept[:number]]
    return [rows[place * len(rows) // number] for place in range(number)] if rows else [np.zeros(5)] * number


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.75])
def test_rows_are_those_of_greedy_suppression(threshold: float) -> None:
    counts = [12, 0, 40]
    given_ = candidates(1, counts)
    found = ranked(given_, counts, number=30, threshold=threshold)
    first = 0
    for image, count in enumerate(counts):
        own = {key: value[first : first + count] for key, value in given_.items()}
        expected = by_hand(own, 30, threshold)
        np.testing.assert_allclose(found.rows[image].numpy(), expected, atol=1e-6)
        first += count


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 45), number=st.integers(1, 40))
def test_always_n_rows_by_decreasing_score(seed: int, count: int, number: int) -> None:
    counts = [count, 3]
    found = ranked(candidates(seed, counts), counts, number=number, threshold=0.9)
    assert found.rows.shape == (2, number, 5)
    assert found.boxes.shape == (2, number, 4)
    assert bool((found.rows[:, 1:, 0] <= found.rows[:, :-1, 0]).all())
    assert found.found.tolist() <= [number, number]
    assert bool((found.labels[found.found > 0] > 0).all())
    assert not found.rows[found.found == 0].any()


def test_few_regions_are_repeated_in_order_and_none_give_zeros() -> None:
    apart = torch.tensor([[0.0, 0, 5, 5], [20, 0, 25, 5], [40, 0, 45, 5]])[:, None].repeat(1, 2, 1)
    given_ = {
        "class_logits": torch.tensor([[0.0, 3], [0, 1], [0, 2]]),
        "box_regression": torch.arange(24.0).reshape(3, 8),
        "boxes": apart,
    }
    found = ranked(given_, [3, 0], number=7)
    assert found.found.tolist() == [3, 0]
    assert found.boxes[0, :, 0].tolist() == [0, 0, 0, 40, 40, 20, 20]  # floor(3 i / 7) of the order 0, 2, 1
    assert found.rows[0, 0, 1:].tolist() == [4, 5, 6, 7]  # raw outputs of the class, as they are
    assert not found.rows[1].any()
    assert not found.labels[1].any()
    nothing = ranked({key: value[:0] for key, value in given_.items()}, [0, 0], number=7)
    assert nothing.rows.shape == (2, 7, 5)
    assert nothing.found.tolist() == [0, 0]


def test_order_of_the_proposals_does_not_matter() -> None:
    given_ = candidates(3, [50])
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    one, other = ranked(given_, [50]), ranked({key: value[order] for key, value in given_.items()}, [50])
    assert one.rows.equal(other.rows)
    assert one.boxes.equal(other.boxes)


def test_an_image_is_ranked_as_alone() -> None:
    counts = [15, 40, 1]
    given_ = candidates(4, counts)
    together, first = ranked(given_, counts), 0
    for image, count in enumerate(counts):
        alone = ranked({key: value[first : first + count] for key, value in given_.items()}, [count])
        assert together.rows[image].equal(alone.rows[0])
        first += count


def test_gradient_reaches_the_kept_rows_alone() -> None:
    given_ = candidates(5, [30])
    given_["box_regression"].requires_grad_()
    found = ranked(given_, [30], number=4)
    torch.autograd.backward(found.rows[..., 1:].sum())
    gradient = given_["box_regression"].grad
    assert gradient is not None
    assert gradient.count_nonzero() == 16
    assert not found.boxes.requires_grad


@pytest.mark.parametrize(("number", "threshold"), [(0, 0.5), (5, 1.5), (5, -0.1)])
def test_impossible_numbers_are_refused(number: int, threshold: float) -> None:
    with pytest.raises(UsageError, match="num_regions"):
        ranked(candidates(0, [3]), [3], number=number, threshold=threshold)
