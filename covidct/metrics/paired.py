"""Two classifiers on the same cases: McNemar's exact test, and the difference of their AUROCs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError
from covidct.metrics.estimates import Estimate
from covidct.metrics.resampling import draw_subjects, weight_blocks
from covidct.metrics.scores import area_under_roc, cumulative_counts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from covidct.metrics.scores import Floats

__all__ = ("McNemar", "auroc_difference", "mcnemar")


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's exact test of two classifiers on the same cases.

    Attributes:
        both: cases that both predict right.
        only_a: cases that only the first predicts right.
        only_b: cases that only the second predicts right.
        neither: cases that both predict wrong.
        p_value: two-sided, of the hypothesis that a discordant case is as likely one way as the other; 1 without
            discordant cases.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """McNemar's exact test (binomial, two-sided) on paired predictions.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947); the exact form is the sign test on the discordant cases (``scipy.stats.binomtest``), which
    holds for any number of them. The cases must be independent: one scan per subject, or the p value is too small.

    Args:
        correct_a: (N,) bool, whether the first classifier is right about each case.
        correct_b: (N,) bool, the same cases in the same order.

    Returns:
        The counts and the p value.

    Raises:
        UsageError: when the arrays are not bool, not of one length, or empty.
    """
    from scipy.stats import binomtest

    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.dtype != np.bool_ or b.dtype != np.bool_ or a.ndim != 1 or a.shape != b.shape or not a.size:
        raise UsageError(
            f"mcnemar got {a.dtype} {a.shape} and {b.dtype} {b.shape}: give two bool arrays (N,) of the same cases, "
            "right or wrong, with at least one case."
        )
    both, only_a, only_b, neither = (int(np.count_nonzero(pair)) for pair in (a & b, a & ~b, ~a & b, ~a & ~b))
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(both, only_a, only_b, neither, p_value)


def auroc_difference(
    score_a: ArrayLike,
    score_b: ArrayLike,
    positive: ArrayLike,
    subject: ArrayLike,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """AUROC of the first classifier minus that of the second, with a paired bootstrap interval.

    Each resample draws subjects with replacement and takes all their cases, the same for both classifiers, so that what
    the two share cancels. The interval is the percentile interval of the differences.

    Args:
        score_a: (N,) of the first classifier, higher means positive.
        score_b: (N,) of the second.
        positive: (N,) bool, the truth.
        subject: (N,) anything that names the subject.
        resamples: number of bootstrap resamples; 0 leaves the interval out.
        confidence: of the interval, in (0, 1).
        seed: of the resampling.

    Returns:
        The difference in [-1, 1]; NaN when all cases are of one class. Resamples of one class are left out.

    Raises:
        UsageError: when the arrays do not fit together or hold NaN, or a setting is out of range.
    """
    scores_a, scores_b = np.asarray(score_a, dtype=np.float64), np.asarray(score_b, dtype=np.float64)
    truth, names = np.asarray(positive), np.asarray(subject)
    _check(scores_a, scores_b, truth, names)
    if resamples < 0 or not 0 < confidence < 1:
        raise UsageError(f"resamples={resamples}, confidence={confidence}: use at least 0, and a share in (0, 1).")
    numbers = np.unique(names, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def differences(weights: Floats) -> Floats:
        areas = [area_under_roc(*cumulative_counts(scores, truth, weights)) for scores in (scores_a, scores_b)]
        return np.asarray(areas[0] - areas[1])

    value = float(differences(np.ones((1, len(truth))))[0])
    counts = draw_subjects(int(numbers.max()) + 1, resamples, seed)
    drawn = np.concatenate([np.empty(0), *(differences(weights) for weights in weight_blocks(counts, numbers))])
    known = drawn[~np.isnan(drawn)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, (tail, 1 - tail)).tolist() if len(known) else (math.nan, math.nan)
    return Estimate(value, low, high)


def _check(a: Floats, b: Floats, positive: NDArray[Any], subject: NDArray[Any]) -> None:
    """Refuse arrays that are not of the same cases."""
    shapes = [array.shape for array in (a, b, positive, subject)]
    if a.ndim != 1 or len(set(shapes)) > 1 or not a.size or positive.dtype != np.bool_:
        raise UsageError(
            f"Scores, truth ({positive.dtype}) and subjects of shapes {shapes} do not fit together: give four arrays "
            "(N,) of the same cases, the truth as bool."
        )
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        raise UsageError("Some scores are not finite: leave out cases without a prediction, for both classifiers.")
