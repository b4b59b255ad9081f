"""The paired difference: scikit-learn's scores, and a plain loop of resamples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from covidct.errors import UsageError
from covidct.metrics import score_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = ("normal", "cap", "covid")
Cohort = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.int64]"]


@pytest.fixture
def cohort() -> Cohort:
    """Two classifiers on 90 cases of 40 subjects, the first mostly right, the second less so."""
    rng = np.random.default_rng(0)
    target = rng.integers(3, size=90)
    right = [np.where(rng.random(90) < skill, target, rng.integers(3, size=90)) for skill in (0.8, 0.5)]
    return right[0], right[1], target, rng.integers(40, size=90)


def test_the_value_is_scikit_learns(cohort: Cohort) -> None:
    a, b, target, subject = cohort
    found = score_difference(a, b, target, subject, NAMES, resamples=0)
    assert found.value == pytest.approx(
        f1_score(target, a, average="macro") - f1_score(target, b, average="macro"), abs=1e-12
    )
    assert np.isnan(found.low)
    accuracy = score_difference(a, b, target, subject, NAMES, metric="accuracy", scope="overall", resamples=0)
    assert accuracy.value == pytest.approx(accuracy_score(target, a) - accuracy_score(target, b), abs=1e-12)


def test_the_interval_is_a_plain_loops(cohort: Cohort) -> None:
    a, b, target, subject = cohort
    found = score_difference(a, b, target, subject, NAMES, resamples=2000)
    rng, names, drawn = np.random.default_rng(99), np.unique(subject), []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(subject == name) for name in rng.choice(names, len(names))])
        scores = [f1_score(target[rows], called[rows], average="macro") for called in (a, b)]
        drawn.append(scores[0] - scores[1])
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_a_classifier_does_not_differ_from_itself(cohort: Cohort) -> None:
    a, b, target, subject = cohort
    same = score_difference(a, a, target, subject, NAMES, resamples=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    one, other = (score_difference(*pair, target, subject, NAMES, resamples=50) for pair in ((a, b), (b, a)))
    assert (one.value, one.low) == pytest.approx((-other.value, -other.high))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "auroc"}, "no auroc"),
        ({"resamples": -1}, "resamples"),
        ({"target": [0, 1]}, "do not fit"),
        ({"predicted_a": np.full(90, 3)}, "0 to 2"),
        ({"predicted_b": np.full(90, 0.5)}, "class indices"),
    ],
)
def test_what_does_not_fit_is_refused(cohort: Cohort, change: dict[str, Any], words: str) -> None:
    a, b, target, subject = cohort
    arguments = {"predicted_a": a, "predicted_b": b, "target": target, "subject": subject, "class_names": NAMES}
    with pytest.raises(UsageError, match=words):
        score_difference(**{**arguments, **change})
