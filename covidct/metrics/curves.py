"""Curves of a report: receiver operating characteristics with a bootstrap band, and the calibration bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidct.metrics.scores import BINS, calibration_sums, cumulative_counts, ratio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from covidct.metrics.scores import Floats, Ints

__all__ = ("GRID", "CalibrationBin", "RocCurve", "calibration_bins", "roc_band", "roc_points")

GRID = np.linspace(0.0, 1.0, 101)
"""False positive rates at which the band of a ROC curve is given."""


@dataclass(frozen=True, slots=True)
class RocCurve:
    """One class against the rest.

    Attributes:
        false_positive_rate: rising from 0 to 1, corners of the curve only.
        sensitivity: at these rates.
        low: lower end of the interval of the sensitivity at the rates 0, 0.01, ... 1; empty without resamples.
        high: upper end.
    """

    false_positive_rate: tuple[float, ...]
    sensitivity: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Cases whose confidence (probability of the predicted class) lies in (lower, upper].

    Attributes:
        lower: lower edge.
        upper: upper edge.
        cases: number of cases.
        confidence: their mean confidence, NaN without cases.
        accuracy: share predicted right, NaN without cases.
    """

    lower: float
    upper: float
    cases: int
    confidence: float
    accuracy: float


def roc_points(score: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Corners of the ROC curve as (false positive rates, sensitivities); both empty when undefined.

    Args:
        score: (N,) higher means positive.
        positive: (N,) the truth.
    """
    hits, false = (counts[0] for counts in cumulative_counts(score, positive, np.ones((1, len(score)))))
    if not hits[-1] or not false[-1]:
        return np.empty(0), np.empty(0)
    turns = np.diff(hits[:-1]) * np.diff(false[1:]) != np.diff(hits[1:]) * np.diff(false[:-1])
    keep = np.concatenate(([True], turns, [True]))  # points on a straight line say nothing
    return false[keep] / false[-1], hits[keep] / hits[-1]


def roc_band(
    score: Floats, positive: NDArray[np.bool_], resamples: Iterable[Floats], *, confidence: float
) -> tuple[Floats, Floats]:
    """Pointwise interval of the sensitivity at the rates of ``GRID``; both empty when no resample has a curve.

    Args:
        score: (N,) higher means positive.
        positive: (N,) the truth.
        resamples: blocks (b, N) of bootstrap weights.
        confidence: of the interval, in (0, 1).
    """
    rows = [
        _at_grid(false / false[-1], hits / hits[-1])
        for weights in resamples
        for hits, false in zip(*cumulative_counts(score, positive, weights), strict=True)
        if hits[-1] and false[-1]
    ]
    if not rows:
        return np.empty(0), np.empty(0)
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.stack(rows), (tail, 1 - tail), axis=0)
    return low, high


def _at_grid(rate: Floats, sensitivity: Floats) -> Floats:
    """Read a rising curve at ``GRID``; on a vertical part the upper end counts."""
    left = np.searchsorted(rate, GRID, side="right") - 1
    right = np.minimum(left + 1, len(rate) - 1)
    width = rate[right] - rate[left]
    share = np.divide(GRID - rate[left], width, out=np.zeros_like(GRID), where=width > 0)
    return np.asarray(sensitivity[left] + share * (sensitivity[right] - sensitivity[left]))


def calibration_bins(prob: Floats, target: Ints) -> tuple[CalibrationBin, ...]:
    """The 15 bins of the expected calibration error.

    Args:
        prob: (N, C) probabilities.
        target: (N,) class indices.
    """
    cases, confidence, correct = (sums[0] for sums in calibration_sums(prob, target, np.ones((1, len(prob)))))
    means, shares = ratio(confidence, cases).tolist(), ratio(correct, cases).tolist()
    return tuple(
        CalibrationBin(
            lower=i / BINS, upper=(i + 1) / BINS, cases=int(cases[i]), confidence=means[i], accuracy=shares[i]
        )
        for i in range(BINS)
    )
