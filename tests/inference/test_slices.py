"""The scan's probabilities from its slices': closed form."""

from __future__ import annotations

import numpy as np
import pytest

from covidct.errors import UsageError
from covidct.inference import scan_probabilities
from covidct.inference.slices import most_suspicious
from covidct.labels import CLASSES


def rows(normal: list[float]) -> np.ndarray:
    """Slices of given probability to be normal; of the rest a quarter is cap."""
    p = np.array(normal)
    return np.stack([p, 0.25 * (1 - p), 0.75 * (1 - p)], 1)


def test_the_mean_of_the_most_suspicious_tenth() -> None:
    """41 slices: a tenth, rounded up, is 5; the five least normal are 0.00, 0.02, ... 0.08, mean 0.04."""
    normal = [0.02 * index for index in range(41)]
    shuffled = np.random.default_rng(0).permutation(normal).tolist()
    found = scan_probabilities(rows(shuffled), CLASSES)
    np.testing.assert_allclose(found, [0.04, 0.24, 0.72], atol=1e-12)
    assert sorted(shuffled[index] for index in most_suspicious(rows(shuffled), CLASSES)) == normal[:5]


@pytest.mark.parametrize(("count", "used"), [(1, 1), (2, 2), (3, 3), (4, 3), (30, 3), (31, 4), (300, 30)])
def test_at_least_three_slices_decide_or_all(count: int, used: int) -> None:
    normal = np.linspace(0.1, 0.9, count)
    assert len(most_suspicious(rows(normal.tolist()), CLASSES)) == used
    assert scan_probabilities(rows(normal.tolist()), CLASSES)[0] == pytest.approx(normal[:used].mean())


def test_slices_that_were_not_looked_at_count_for_nothing() -> None:
    prob = rows([0.5, 0.1, 0.9, 0.3, 0.7])
    padded = np.full((50, 3), np.nan)
    padded[20:25] = prob
    np.testing.assert_allclose(scan_probabilities(padded, CLASSES), scan_probabilities(prob, CLASSES))
    assert most_suspicious(padded, CLASSES).tolist() == [21, 23, 20]


def test_the_negative_class_is_found_by_its_name() -> None:
    prob = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.6, 0.4]])
    assert most_suspicious(prob, ("covid", "non_covid")).tolist() == [0, 3, 2]
    assert most_suspicious(prob, ("non_covid", "covid")).tolist() == [1, 2, 3]
    assert most_suspicious(prob, ("a", "b")).tolist() == [1, 2, 3], "the first where none is negative"


def test_equal_slices_are_taken_from_the_feet() -> None:
    assert most_suspicious(rows([0.5] * 40), CLASSES).tolist() == [0, 1, 2, 3]


def test_nothing_to_decide_by() -> None:
    with pytest.raises(UsageError, match="No slice"):
        scan_probabilities(np.full((4, 3), np.nan), CLASSES)
    with pytest.raises(UsageError, match="3 classes must be"):
        scan_probabilities(np.zeros((4, 2)), CLASSES)
