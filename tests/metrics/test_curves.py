"""ROC corners against scikit-learn, the band against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from covidct.metrics.curves import GRID, calibration_bins, roc_band, roc_points
from tests.metrics.cohorts import random_cohort


@pytest.mark.parametrize("ties", [False, True])
def test_roc_points_are_those_of_scikit_learn(ties: bool) -> None:
    prob, target, _ = random_cohort(3, cases=50, classes=3, ties=ties)
    rate, sensitivity = roc_points(prob[:, 2], target == 2)
    expected = sk.roc_curve(target == 2, prob[:, 2])
    assert sk.auc(rate, sensitivity) == pytest.approx(sk.roc_auc_score(target == 2, prob[:, 2]))
    grid = np.linspace(0.003, 0.997, 331)  # between the corners
    np.testing.assert_allclose(
        np.interp(grid, rate, sensitivity), np.interp(grid, expected[0], expected[1]), atol=1e-12
    )
    assert len(rate) <= len(expected[0])


def test_roc_points_need_both_sides() -> None:
    for truth in (np.ones(4, bool), np.zeros(4, bool)):
        rate, sensitivity = roc_points(np.linspace(0, 1, 4), truth)
        assert rate.size == sensitivity.size == 0


def test_band_is_the_quantile_of_resampled_curves() -> None:
    prob, target, _ = random_cohort(5, cases=30, classes=2)
    positive, rng = target == 1, np.random.default_rng(0)
    draws = rng.integers(30, size=(40, 30))
    weights = np.stack([np.bincount(draw, minlength=30) for draw in draws]).astype(float)
    low, high = roc_band(prob[:, 1], positive, [weights[:25], weights[25:]], confidence=0.9)
    rows = []
    for draw in draws:
        rate, sensitivity, _ = sk.roc_curve(positive[draw], prob[draw, 1], drop_intermediate=False)
        rows.append([max(sensitivity[rate <= point + 1e-12]) for point in GRID])  # a step curve without ties
    np.testing.assert_allclose(low, np.quantile(rows, 0.05, axis=0), atol=1e-12)
    np.testing.assert_allclose(high, np.quantile(rows, 0.95, axis=0), atol=1e-12)


def test_calibration_bins_add_up() -> None:
    prob, target, _ = random_cohort(9, cases=200, classes=3)
    bins = calibration_bins(prob, target)
    assert sum(entry.cases for entry in bins) == 200
    right = sum(entry.cases * entry.accuracy for entry in bins if entry.cases)
    assert right == pytest.approx((prob.argmax(1) == target).sum())
    assert all(entry.lower < entry.confidence <= entry.upper for entry in bins if entry.cases)
    assert all(np.isnan(entry.accuracy) for entry in bins if not entry.cases)
