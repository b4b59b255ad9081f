"""What features know of the classes: nearest neighbours and a linear classifier, fitted on other samples."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Features = NDArray[np.float32]
    Distances = NDArray[np.float64]

__all__ = ("knn_probabilities", "probe_probabilities")

_TEMPERATURE = 0.07  # Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", 2018
_ITERATIONS = 200  # recommendation: an unfinished fit scores as well, and an epoch shall not wait for it


def knn_probabilities(
    bank: Features,
    target: NDArray[np.int64],
    features: Features,
    *,
    classes: int,
    neighbours: int = 20,
    temperature: float = _TEMPERATURE,
) -> NDArray[np.float64]:
    """Share of each class among the nearest neighbours by cosine, each weighing ``exp(cosine / temperature)``.

    Args:
        bank: (M, F) features of known class.
        target: (M,) their classes.
        features: (N, F) features asked about.
        classes: C, number of classes.
        neighbours: how many vote, at most M (recommendation: 20; Wu et al. take 200 of a million).
        temperature: of the weights.

    Returns:
        (N, C), rows summing to one.

    Raises:
        UsageError: for an empty bank, or numbers out of range.
    """
    if not len(bank) or neighbours < 1 or temperature <= 0:
        raise UsageError(
            f"knn_probabilities has {len(bank)} known samples, neighbours={neighbours}, temperature={temperature}: all "
            "must be above 0."
        )
    from sklearn.neighbors import KNeighborsClassifier

    def weights(distance: Distances) -> Distances:  # one minus the cosine; the nearest weighs 1
        return np.asarray(np.exp((distance.min(1, keepdims=True) - distance) / temperature))

    judge = KNeighborsClassifier(min(neighbours, len(bank)), metric="cosine", algorithm="brute", weights=weights)
    return _probabilities(judge.fit(bank, target), features, classes)


def probe_probabilities(
    bank: Features, target: NDArray[np.int64], features: Features, *, classes: int
) -> NDArray[np.float64]:
    """Probabilities of a logistic regression on standardised features, L2 penalty 1 (scikit-learn's default).

    Args:
        bank: (M, F) features of known class; mean, standard deviation and weights come from these alone.
        target: (M,) their classes, at least two of them.
        features: (N, F) features asked about.
        classes: C, number of classes; one that the bank lacks gets 0.

    Returns:
        (N, C), rows summing to one.

    Raises:
        UsageError: when the bank has fewer than two classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(target)) < 2:
        raise UsageError("A linear probe tells classes apart: give known samples of at least two.")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(bank, target)
    return _probabilities(probe, features, classes)


def _probabilities(judge: Any, features: Features, classes: int) -> NDArray[np.float64]:  # noqa: ANN401  (untyped)
    """What a fitted judge of scikit-learn says, with 0 for classes that it has not met."""
    prob = np.zeros((len(features), classes))
    prob[:, judge.classes_] = judge.predict_proba(features)
    return prob
