"""Which slices level 1 learns from, and how much each counts."""

from __future__ import annotations

import pytest
import torch

from covidct.errors import UsageError
from covidct.tasks.slice_level import balanced_weights, count_labels, evenly_drawn, require_labels


def test_draws_are_spread_evenly_over_the_pool_and_reach_every_slice() -> None:
    pool = torch.zeros(2, 40, dtype=torch.bool)
    pool[0, 5:35:2] = True  # 15 slices
    pool[1, :3] = True
    total = torch.zeros(2, 40, dtype=torch.int64)
    for step in range(300):
        drawn = evenly_drawn(pool, most=4, step=step)
        assert drawn.sum(1).tolist() == [4, 3]
        assert not (drawn & ~pool).any()
        gaps = drawn[0].nonzero()[:, 0].diff() / 2
        assert gaps.min() >= 3  # 15 / 4 slices on average
        assert gaps.max() <= 4
        total += drawn
    assert (total[1, :3] == 300).all()
    often = total[0, pool[0]]
    assert often.sum() == 1200
    assert often.min() >= 70  # 80 on average
    assert often.max() <= 90


def test_all_slices_are_drawn_without_a_limit() -> None:
    pool = torch.rand(3, 50) > 0.5
    assert evenly_drawn(pool, most=None, step=0).equal(pool)


def test_labels_are_counted_by_network() -> None:
    labels = [torch.tensor(one) for one in ([0, 1, -1], [-1, -1], [2], [0, 0, 0, 0])]
    counts = count_labels(labels, torch.tensor([0, 1, 2, 0]), 3)
    assert counts.tolist() == [7, 1, 7, 6]
    require_labels(counts)


def test_no_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="No training scan has a slice label"):
        require_labels(count_labels([torch.tensor([-1, -1])], torch.tensor([0]), 2))
    with pytest.raises(UsageError, match="No training scan has a slice label"):
        require_labels(count_labels([], torch.tensor([], dtype=torch.int64), 2))


def test_labels_in_one_fold_alone_are_refused() -> None:
    with pytest.raises(UsageError, match="fold 1 of 2"):
        require_labels(count_labels([torch.tensor([0]), torch.tensor([-1])], torch.tensor([1, 0]), 2))


def test_balanced_weights_count_scans_alike() -> None:
    labels = [torch.tensor([0, 0, 0, 1]), torch.tensor([2] * 9 + [0]), torch.tensor([-1, -1])]
    share = torch.tensor([0.75 + 0.1, 0.25, 0.9]) / 2
    weights = balanced_weights(labels, 3)
    torch.testing.assert_close(weights, 1 / (3 * share))
    torch.testing.assert_close((weights * share).sum(), torch.tensor(1.0))
    with pytest.raises(UsageError, match="each of the 4 classes"):
        balanced_weights(labels, 4)
