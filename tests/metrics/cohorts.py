"""Random cohorts for the tests of the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def random_cohort(
    seed: int, *, cases: int, classes: int, subjects: int | None = None, ties: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Probabilities with some skill, labels of every class, and subjects; coarse probabilities when ``ties``."""
    rng = np.random.default_rng(seed)
    target = np.concatenate([np.arange(classes), rng.integers(classes, size=cases - classes)])
    logits = rng.normal(size=(cases, classes)) + 1.5 * np.eye(classes)[target]
    prob = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if ties:
        prob = np.round(prob * 4) + 0.25
        prob /= prob.sum(1, keepdims=True)
    subject = np.arange(cases) if subjects is None else rng.integers(subjects, size=cases)
    return prob, target, subject
