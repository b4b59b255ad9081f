"""The formulas: every score for many weightings of the same cases at once (numpy only).

The first axis B runs over weightings: one row of ones is the cohort itself, rows of counts are bootstrap resamples.
Rules (one-vs-rest, rows of the confusion matrix are the truth): sensitivity TP/(TP+FN), specificity TN/(TN+FP),
precision TP/(TP+FP), F1 2TP/(2TP+FP+FN). Zero division: a class without true cases gives NaN for sensitivity, F1,
AUROC and AUPRC; a class that is present but never predicted has precision 0. Sensitivity and recall are one quantity
and carry one name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Scores = dict[tuple[str, str], Floats]

__all__ = (
    "BINS",
    "area_under_roc",
    "calibration_error",
    "calibration_sums",
    "confusion_scores",
    "cumulative_counts",
    "rank_scores",
    "ratio",
    "weighted_confusion",
)

BINS = 15
"""Equal-width bins of the calibration error: Guo et al., "On Calibration of Modern Neural Networks" (2017)."""


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; 0/0 and x/0 are NaN, without a warning."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def weighted_confusion(predicted: Ints, target: Ints, weights: Floats, *, classes: int) -> Floats:
    """Confusion matrices (B, C, C), rows truth, columns prediction.

    Args:
        predicted: (N,) class indices.
        target: (N,) class indices.
        weights: (B, N) weight of each case.
        classes: number of classes C.
    """
    cells = np.eye(classes * classes)[target * classes + predicted]
    confusion: Floats = (weights @ cells).reshape(-1, classes, classes)
    return confusion


def confusion_scores(confusion: Floats, class_names: Sequence[str], present: NDArray[np.bool_]) -> Scores:
    """All scores that follow from confusion matrices.

    Args:
        confusion: (B, C, C) weights, rows truth.
        class_names: C names, the scopes of the per-class scores.
        present: (C,) bool: classes with true cases in the cohort; macro averages run over these.

    Returns:
        (metric, scope) to (B,) values; scopes are the class names, ``"macro"``, ``"micro"``, ``"weighted"`` and
        ``"overall"``.
    """
    total = confusion.sum((1, 2))
    hit = np.diagonal(confusion, axis1=1, axis2=2)
    true, predicted = confusion.sum(2), confusion.sum(1)
    rejected = total[:, None] - true - predicted + hit  # true negatives
    precision = ratio(hit, predicted)
    precision[(predicted == 0) & (true > 0)] = 0.0
    per_class = {
        "sensitivity": ratio(hit, true),
        "specificity": ratio(rejected, total[:, None] - true),
        "precision": precision,
        "f1": np.where(true > 0, ratio(2 * hit, true + predicted), np.nan),
        "accuracy": ratio(hit + rejected, np.broadcast_to(total[:, None], hit.shape)),
    }
    micro_hit, pooled = hit.sum(1), total * len(class_names)
    accuracy = ratio(micro_hit, total)
    micro = {
        "sensitivity": accuracy,
        "specificity": ratio(rejected.sum(1), pooled - total),
        "precision": accuracy,
        "f1": accuracy,
        "accuracy": ratio(micro_hit + rejected.sum(1), pooled),
    }
    scores: Scores = {("accuracy", "overall"): accuracy}
    for metric, values in per_class.items():
        scores.update(averaged(metric, values, true, class_names, present))
        scores[metric, "micro"] = micro[metric]
    return scores


def averaged(
    metric: str, values: Floats, true: Floats, class_names: Sequence[str], present: NDArray[np.bool_]
) -> Scores:
    """Name per-class values (B, C) and add their macro and support-weighted means over the classes ``present``.

    A resample that lost a class of the cohort has no macro mean (NaN): leaving the class out would change what the
    mean is a mean of. It still has a weighted mean, where the class weighs nothing.
    """
    scores: Scores = {(metric, name): values[:, index] for index, name in enumerate(class_names)}
    some = bool(present.any())
    missing = np.full(len(values), np.nan)
    scores[metric, "macro"] = values[:, present].mean(1) if some else missing
    products = np.where(true > 0, values * true, 0.0)
    scores[metric, "weighted"] = ratio(products.sum(1), true.sum(1)) if some else missing
    return scores


def cumulative_counts(score: Floats, positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """True and false positives (B, U + 1) at the U distinct thresholds of ``score``, descending, starting at 0.

    Args:
        score: (N,) higher means positive.
        positive: (N,) the truth.
        weights: (B, N) weight of each case.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # cases of one score pass together
    ordered = weights[:, order]
    hits = np.cumsum(ordered * positive[order], axis=1)[:, ends]
    false = np.cumsum(ordered, axis=1)[:, ends] - hits
    zero = np.zeros((len(weights), 1))
    return np.hstack((zero, hits)), np.hstack((zero, false))


def area_under_roc(hits: Floats, false: Floats) -> Floats:
    """Trapezoid area (B,) under :func:`cumulative_counts`: ties count one half; NaN without both kinds."""
    area = (np.diff(false, axis=1) * (hits[:, 1:] + hits[:, :-1])).sum(1) / 2
    return ratio(area, hits[:, -1] * false[:, -1])


def rank_scores(prob: Floats, target: Ints, weights: Floats) -> tuple[Floats, Floats]:
    """AUROC and AUPRC of every class against the rest, (B, C) each; NaN where the class or its rest is missing.

    AUROC is the trapezoid area (ties count one half), AUPRC the average precision sum of (recall step) x precision.

    Args:
        prob: (N, C) probabilities.
        target: (N,) class indices.
        weights: (B, N) weight of each case.
    """
    auroc, auprc = (np.empty((len(weights), prob.shape[1])) for _ in range(2))
    for index in range(prob.shape[1]):
        hits, false = cumulative_counts(prob[:, index], target == index, weights)
        positives, negatives = hits[:, -1], false[:, -1]
        auroc[:, index] = area_under_roc(hits, false)
        precision = np.nan_to_num(ratio(hits, hits + false)[:, 1:])
        steps = (np.diff(hits, axis=1) * precision).sum(1)
        auprc[:, index] = np.where(negatives > 0, ratio(steps, positives), np.nan)
    return auroc, auprc


def calibration_sums(prob: Floats, target: Ints, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Per confidence bin ((m-1)/15, m/15]: weight of cases, summed confidence, weight of correct cases; (B, 15) each.

    Confidence is the probability of the predicted (most probable) class.
    """
    confidence = prob.max(1)
    correct = prob.argmax(1) == target
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    member = np.eye(BINS)[bins]
    return weights @ member, weights @ (member * confidence[:, None]), weights @ (member * correct[:, None])


def calibration_error(prob: Floats, target: Ints, weights: Floats) -> Floats:
    """Expected calibration error (B,): mean over cases of abs(accuracy - mean confidence) of the case's bin."""
    _, confidence, correct = calibration_sums(prob, target, weights)
    return ratio(np.abs(correct - confidence).sum(1), weights.sum(1))
