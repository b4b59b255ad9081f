"""Selection of pseudo-labels against loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from covidct.errors import UsageError
from covidct.functional import pseudo_labels_above, select_pseudo_labels

PROB = torch.tensor(
    [[0.96, 0.03, 0.01], [0.50, 0.49, 0.01], [0.01, 0.99, 0.00], [0.02, 0.01, 0.97], [0.98, 0.01, 0.01]]
)


def test_sure_rows_are_taken() -> None:
    found = select_pseudo_labels(PROB)
    assert found.index.tolist() == [0, 2, 3, 4]
    assert found.label.tolist() == [0, 1, 2, 0]
    assert found.count.tolist() == [2, 1, 1]
    torch.testing.assert_close(found.bar, torch.tensor([0.96, 0.99, 0.97]))
    assert found.known.tolist() == found.right.tolist() == [0, 0, 0]


def test_the_quota_takes_the_surest_of_each_class() -> None:
    found = select_pseudo_labels(PROB, quota=1)
    assert found.index.tolist() == [2, 3, 4]
    torch.testing.assert_close(found.bar, torch.tensor([0.98, 0.99, 0.97]))


def test_quota_and_threshold_against_a_loop() -> None:
    prob = (4 * torch.randn(300, 4, generator=torch.Generator().manual_seed(0))).softmax(1)
    truth = torch.randint(-1, 4, (300,), generator=torch.Generator().manual_seed(1))
    found = select_pseudo_labels(prob, threshold=0.9, quota=20, truth=truth)
    rows = prob.tolist()
    for label in range(4):
        mine = sorted(
            (number for number, row in enumerate(rows) if row.index(max(row)) == label and row[label] >= 0.9),
            key=lambda number: -rows[number][label],
        )[:20]
        taken = found.index[found.label == label].tolist()
        assert taken == sorted(mine)
        assert found.bar[label] == prob[mine, label].min()
        assert found.count[label] == len(mine)
        assert found.known[label] == sum(int(truth[number]) >= 0 for number in mine)
        assert found.right[label] == sum(int(truth[number]) == label for number in mine)


def test_of_equally_sure_rows_the_first_are_taken() -> None:
    found = select_pseudo_labels(torch.tensor([[0.0, 1.0]] * 5), quota=2)
    assert found.index.tolist() == [0, 1]


def test_the_bar_takes_the_same_rows_again() -> None:
    prob = (4 * torch.randn(100, 3, generator=torch.Generator().manual_seed(2))).softmax(1)
    found = select_pseudo_labels(prob, threshold=0.8, quota=7)
    again = pseudo_labels_above(prob, found.bar)
    assert again[again >= 0].tolist() == found.label.tolist()
    assert (again >= 0).nonzero()[:, 0].tolist() == found.index.tolist()


def test_a_class_that_is_not_allowed_is_not_taken_for_the_second_best() -> None:
    allowed = torch.ones_like(PROB, dtype=torch.bool)
    allowed[2, 1] = allowed[1, 0] = False
    found = select_pseudo_labels(PROB, threshold=0.4, allowed=allowed)
    assert found.index.tolist() == [0, 3, 4]


def test_nothing_sure_leaves_bars_out_of_reach() -> None:
    found = select_pseudo_labels(torch.full((6, 3), 1 / 3))
    assert len(found.index) == 0
    assert (found.bar > 1).all()
    assert (pseudo_labels_above(torch.eye(3), found.bar) == -1).all()
    assert len(select_pseudo_labels(torch.empty(0, 3)).index) == 0


def test_rows_that_are_not_finite_are_never_taken() -> None:
    prob = PROB.clone()
    prob[0] = torch.nan
    assert select_pseudo_labels(prob).index.tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"quota": 0}, "quota"),
        ({"quota": 2.0}, "quota"),
        ({"truth": torch.zeros(3, dtype=torch.int64)}, "true classes"),
        ({"allowed": torch.ones(5, 2, dtype=torch.bool)}, "allowed"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        select_pseudo_labels(PROB, **arguments)


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match="N, C"):
        select_pseudo_labels(torch.rand(3))
