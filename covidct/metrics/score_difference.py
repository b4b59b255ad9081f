"""``score_difference``: a score of one classifier minus that of another on the same cases, with a paired interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import UsageError
from covidct.metrics.estimates import Estimate
from covidct.metrics.resampling import draw_subjects, weight_blocks
from covidct.metrics.scores import confusion_scores, weighted_confusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from covidct.metrics.scores import Floats

__all__ = ("score_difference",)


def score_difference(
    predicted_a: ArrayLike,
    predicted_b: ArrayLike,
    target: ArrayLike,
    subject: ArrayLike,
    class_names: Sequence[str],
    *,
    metric: str = "f1",
    scope: str = "macro",
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Score of the first classifier's decisions minus that of the second's, with a paired bootstrap interval.

    Each resample draws subjects with replacement and takes all their cases, the same for both classifiers, so that what
    the two share cancels. The interval is the percentile interval of the differences.

    Args:
        predicted_a: (N,) class indices that the first classifier calls.
        predicted_b: (N,) those of the second.
        target: (N,) class indices.
        subject: (N,) anything that names the subject.
        class_names: C names.
        metric: ``"f1"``, ``"accuracy"``, ``"sensitivity"``, ``"specificity"`` or ``"precision"``, see
            :class:`TriageReport`.
        scope: a class name, ``"macro"``, ``"micro"``, ``"weighted"``, or ``"overall"`` of the accuracy.
        resamples: number of bootstrap resamples; 0 leaves the interval out.
        confidence: of the interval, in (0, 1).
        seed: of the resampling; the same as of :func:`triage_report`'s draws the same subjects.

    Returns:
        The difference in [-1, 1]. Resamples in which a score is not defined are left out.

    Raises:
        UsageError: when the arrays do not fit together, or the score or a setting is unknown or out of range.
    """
    a, b, truth, names = (np.asarray(array) for array in (predicted_a, predicted_b, target, subject))
    _check((a, b, truth), len(class_names), names.shape)
    if resamples < 0 or not 0 < confidence < 1:
        raise UsageError(f"resamples={resamples}, confidence={confidence}: use at least 0, and a share in (0, 1).")
    numbers = np.unique(names, return_inverse=True)[1].reshape(-1).astype(np.int64)
    present = np.bincount(truth, minlength=len(class_names)) > 0

    def differences(weights: Floats) -> Floats:
        found = []
        for predicted in (a, b):
            confusion = weighted_confusion(predicted, truth, weights, classes=len(class_names))
            scores = confusion_scores(confusion, class_names, present)
            if (metric, scope) not in scores:
                known = ", ".join(" ".join(key) for key in scores)
                raise UsageError(f"There is no {metric} of scope {scope!r}: use one of {known}.")
            found.append(scores[metric, scope])
        return np.asarray(found[0] - found[1])

    value = float(differences(np.ones((1, len(truth))))[0])
    counts = draw_subjects(int(numbers.max()) + 1, resamples, seed)
    drawn = np.concatenate([np.empty(0), *(differences(weights) for weights in weight_blocks(counts, numbers))])
    known = drawn[~np.isnan(drawn)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, (tail, 1 - tail)).tolist() if len(known) else (math.nan, math.nan)
    return Estimate(value, low, high)


def _check(
    labels: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.int64]]], classes: int, of: tuple[int, ...]
) -> None:
    """Refuse arrays that are not class indices of the same cases."""
    shapes = [array.shape for array in labels] + [of]
    whole = all(array.dtype.kind in "iu" for array in labels)
    proper = whole and len(of) == 1 and len(set(shapes)) == 1 and of[0] > 0
    if not proper or any(int(array.min()) < 0 or int(array.max()) >= classes for array in labels):
        raise UsageError(
            f"Predictions, truth and subjects of shapes {shapes} do not fit together: give four arrays (N,) of the "
            f"same cases, class indices from 0 to {classes - 1}."
        )
