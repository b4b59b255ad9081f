"""Paired tests: enumeration of all outcomes, scikit-learn's AUROC, a bootstrap loop and a coverage check."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covidct.errors import UsageError
from covidct.metrics import auroc_difference, mcnemar
from tests.metrics.cohorts import random_cohort

if TYPE_CHECKING:
    from numpy.typing import NDArray


def enumerated_p(only_a: int, only_b: int) -> float:
    """Share of all 2^n ways to deal the discordant cases that are as lopsided as this one, or more."""
    n, here = only_a + only_b, abs(only_a - only_b)
    deals = [abs(2 * sum(deal) - n) for deal in product((0, 1), repeat=n)]
    return float(Fraction(sum(gap >= here for gap in deals), len(deals)))


def paired(both: int, only_a: int, only_b: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Shuffled cases with these counts."""
    rows = [(True, True)] * both + [(True, False)] * only_a + [(False, True)] * only_b + [(False, False)] * neither
    array = np.random.default_rng(0).permutation(np.array(rows))
    return array[:, 0], array[:, 1]


def area(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Share of pairs (positive, negative) that are ranked right, ties counting one half."""
    gaps = score[positive][:, None] - score[~positive]
    return float(((gaps > 0) + 0.5 * (gaps == 0)).mean())


@pytest.mark.parametrize("counts", [(3, a, b, 2) for a in range(6) for b in range(7)])
def test_the_p_value_is_the_share_of_outcomes_as_extreme(counts: tuple[int, int, int, int]) -> None:
    found = mcnemar(*paired(*counts))
    assert (found.both, found.only_a, found.only_b, found.neither) == counts
    assert found.p_value == pytest.approx(enumerated_p(counts[1], counts[2]), rel=1e-12)


def test_mcnemar_is_symmetric_and_sees_only_discordant_cases() -> None:
    a, b = paired(50, 12, 3, 5)
    other = mcnemar(*paired(0, 12, 3, 900))
    assert mcnemar(a, b).p_value == mcnemar(b, a).p_value == other.p_value
    assert mcnemar(a, a).p_value == 1.0


def test_mcnemar_keeps_its_level() -> None:
    rng = np.random.default_rng(3)
    p_values = [mcnemar(*(rng.random((2, 60)) < 0.7)).p_value for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.06  # exact tests are conservative


def test_auroc_difference_is_scikit_learns_and_its_interval_a_plain_loops() -> None:
    prob, target, subject = random_cohort(0, cases=80, classes=2, subjects=30, ties=True)
    other = random_cohort(1, cases=80, classes=2)[0][:, 1] + 0.3 * target
    truth = target == 1
    found = auroc_difference(prob[:, 1], other, truth, subject, resamples=300, seed=5)
    assert found.value == pytest.approx(roc_auc_score(truth, prob[:, 1]) - roc_auc_score(truth, other), abs=1e-12)
    names = np.unique(subject)
    rng = np.random.default_rng(99)
    drawn = []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(subject == name) for name in rng.choice(names, len(names))])
        if 0 < truth[rows].sum() < len(rows):
            drawn.append(area(prob[rows, 1], truth[rows]) - area(other[rows], truth[rows]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    wide = auroc_difference(prob[:, 1], other, truth, subject, resamples=2000)
    assert wide.low == pytest.approx(low, abs=0.03)
    assert wide.high == pytest.approx(high, abs=0.03)


def test_the_resamples_are_shared() -> None:
    prob, target, subject = random_cohort(4, cases=60, classes=2)
    same = auroc_difference(prob[:, 1], prob[:, 1] ** 3, target == 1, subject)  # one ranking, two scales
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_one_class_has_no_difference() -> None:
    found = auroc_difference([0.1, 0.2], [0.3, 0.1], np.array([True, True]), [0, 1], resamples=10)
    assert np.isnan([found.value, found.low, found.high]).all()


@pytest.mark.parametrize(
    ("a", "b"), [([True], [True, False]), ([1, 0], [1, 0]), ([], []), ([[True]], [[True]]), ([0.5], [0.5])]
)
def test_mcnemar_refuses_what_is_no_pair(a: list[bool], b: list[bool]) -> None:
    with pytest.raises(UsageError, match="same cases"):
        mcnemar(a, b)


def test_auroc_difference_refuses_what_does_not_fit() -> None:
    truth = np.array([True, False])
    with pytest.raises(UsageError, match="same cases"):
        auroc_difference([0.1, 0.2], [0.1], truth, [0, 1])
    with pytest.raises(UsageError, match="not finite"):
        auroc_difference([0.1, np.nan], [0.1, 0.2], truth, [0, 1])
    with pytest.raises(UsageError, match="confidence"):
        auroc_difference([0.1, 0.3], [0.1, 0.2], truth, [0, 1], confidence=1.0)
