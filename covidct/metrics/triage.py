"""``triage_report``: every score of a diagnosis with bootstrap intervals over subjects (numpy only)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError
from covidct.metrics import curves, scores
from covidct.metrics.estimates import Estimate, TriageReport
from covidct.metrics.resampling import draw_subjects, weight_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from covidct.metrics.curves import RocCurve
    from covidct.metrics.scores import Floats, Ints, Scores

__all__ = ("AVERAGES", "report_from_confusion", "triage_report")

AVERAGES = ("macro", "micro", "weighted", "overall")
"""Scopes of a score beside the class names."""


def triage_report(
    prob: ArrayLike,
    target: ArrayLike,
    subject: ArrayLike,
    class_names: Sequence[str],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> TriageReport:
    """Score predicted probabilities against the truth, with intervals from resampling whole subjects.

    Scans of one subject are alike, so resampling scans would make the intervals too narrow: each resample draws as
    many subjects as there are, with replacement, and takes all their scans. The intervals are percentiles.

    Args:
        prob: (N, C) probabilities in [0, 1], rows summing to one.
        target: (N,) class indices in [0, C).
        subject: (N,) anything that names the subject (integers or strings).
        class_names: C names.
        resamples: number of bootstrap resamples; 0 leaves the intervals out.
        confidence: of the intervals, in (0, 1).
        seed: of the resampling; the same seed gives the same report.

    Returns:
        The report. A class without cases, or a cohort of one class, gives NaN where a score is not defined, and a
        note.

    Raises:
        UsageError: when the arrays do not fit together or hold impossible values.
    """
    names = _check_settings(class_names, resamples=resamples, confidence=confidence, seed=seed)
    p, t, s = _check_cases(_numbers(prob, "prob"), np.asarray(target), np.asarray(subject), names)
    counts = draw_subjects(int(s.max()) + 1, resamples, seed)
    present = np.bincount(t, minlength=len(names)) > 0

    def compute(weights: Floats) -> Scores:
        return _scores(p, t, weights, names, present)

    values = compute(np.ones((1, len(t))))
    blocks = [compute(weights) for weights in weight_blocks(counts, s)]
    drawn = {key: np.concatenate([block[key] for block in blocks]) if blocks else np.empty(0) for key in values}
    confusion = scores.weighted_confusion(p.argmax(1), t, np.ones((1, len(t))), classes=len(names))[0]
    return TriageReport(
        class_names=names,
        cases=len(t),
        subjects=counts.shape[1],
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        scores=_estimates(values, drawn, confidence),
        confusion=_as_counts(confusion),
        roc=_roc(p, t, names, counts, s, confidence),
        calibration=curves.calibration_bins(p, t),
        notes=_notes(confusion, names, drawn, values, subjects=counts.shape[1]),
    )


def report_from_confusion(
    confusion: ArrayLike,
    class_names: Sequence[str],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> TriageReport:
    """Score a published confusion matrix, each case taken as a subject of its own.

    Args:
        confusion: (C, C) counts, rows truth, columns prediction.
        class_names: C names.
        resamples: number of bootstrap resamples (of cases); 0 leaves the intervals out.
        confidence: of the intervals, in (0, 1).
        seed: of the resampling.

    Returns:
        A report without AUROC, AUPRC, calibration and curves, which a matrix does not tell.

    Raises:
        UsageError: when the matrix is not square, not of counts, or empty.
    """
    names = _check_settings(class_names, resamples=resamples, confidence=confidence, seed=seed)
    matrix = _numbers(confusion, "The confusion matrix")
    if matrix.shape != (len(names), len(names)):
        raise UsageError(f"The confusion matrix has shape {matrix.shape}; {len(names)} class names need a square one.")
    if not np.isfinite(matrix).all() or (matrix < 0).any() or (matrix % 1).any() or not matrix.any():
        raise UsageError("The confusion matrix must hold counts of cases, at least one, none negative or broken.")
    present, total = matrix.sum(1) > 0, int(matrix.sum())
    values = scores.confusion_scores(matrix[None], names, present)
    draws = np.random.default_rng(seed).multinomial(total, matrix.ravel() / total, size=resamples)
    drawn = scores.confusion_scores(draws.reshape(-1, *matrix.shape).astype(np.float64), names, present)
    notes = _notes(matrix, names, drawn, values, subjects=total)
    return TriageReport(
        class_names=names,
        cases=total,
        subjects=total,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        scores=_estimates(values, drawn, confidence),
        confusion=_as_counts(matrix),
        roc={},
        calibration=(),
        notes=("Made from a confusion matrix alone: each case counts as a subject, and no curves are known.", *notes),
    )


def _check_settings(class_names: Sequence[str], *, resamples: int, confidence: float, seed: int) -> tuple[str, ...]:
    """The names, unless they or the settings are such that no report can have them."""
    names = () if isinstance(class_names, str) else tuple(class_names)
    if len(names) < 2 or len(set(names)) < len(names) or set(names) & set(AVERAGES):
        raise UsageError(
            f"The class names {class_names!r} do not serve: give at least two, all different, none of {AVERAGES}."
        )
    if not _is_count(resamples) or not _is_count(seed) or not 0 < confidence < 1:
        raise UsageError(
            f"resamples={resamples}, confidence={confidence}, seed={seed}: use whole numbers of at least 0 for "
            "resamples and seed, and a confidence in (0, 1)."
        )
    return names


def _is_count(value: object) -> bool:
    """Whether ``value`` is a whole number of at least 0."""
    return isinstance(value, int | np.integer) and int(value) >= 0


def _numbers(values: ArrayLike, what: str) -> Floats:
    """A float64 array of ``values``."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} is no rectangular array of numbers ({error}).") from error


def _check_cases(
    prob: Floats, target: NDArray[Any], subject: NDArray[Any], names: tuple[str, ...]
) -> tuple[Floats, Ints, Ints]:
    """Refuse arrays that do not fit; number the subjects from 0."""
    if prob.ndim != 2 or prob.shape[1] != len(names) or target.shape != prob.shape[:1] or subject.shape != target.shape:
        raise UsageError(
            f"prob {prob.shape}, target {target.shape} and subject {subject.shape} do not fit together: "
            f"they must be (N, {len(names)}), (N,) and (N,)."
        )
    if not len(prob):
        raise UsageError("There are no cases to score: give at least one prediction with its true class.")
    wrong = ~(np.isfinite(prob).all(1) & (prob >= 0).all(1) & (np.abs(prob.sum(1) - 1) < 1e-2))
    if wrong.any():
        raise UsageError(
            f"{int(wrong.sum())} of {len(prob)} rows of prob are no probabilities (first: row {int(wrong.argmax())}): "
            "they must be finite, not negative and sum to one."
        )
    if not np.issubdtype(target.dtype, np.integer) or target.min() < 0 or target.max() >= len(names):
        raise UsageError(
            f"target must hold class indices from 0 to {len(names) - 1}; leave out cases of unknown class."
        )
    if subject.dtype.kind == "f" and np.isnan(subject).any():
        raise UsageError("subject holds NaN: name the subject of every case, by a number of its own where unknown.")
    try:
        numbers = np.unique(subject, return_inverse=True)[1]
    except TypeError as error:
        raise UsageError(f"subject must hold numbers alone or strings alone ({error}).") from error
    return prob, target.astype(np.int64), numbers.reshape(-1).astype(np.int64)


def _scores(prob: Floats, target: Ints, weights: Floats, names: tuple[str, ...], present: NDArray[np.bool_]) -> Scores:
    """All scores of the cases under each weighting."""
    confusion = scores.weighted_confusion(prob.argmax(1), target, weights, classes=len(names))
    values = scores.confusion_scores(confusion, names, present)
    for metric, ranked in zip(("auroc", "auprc"), scores.rank_scores(prob, target, weights), strict=True):
        values |= scores.averaged(metric, ranked, confusion.sum(2), names, present)
    values["calibration_error", "overall"] = scores.calibration_error(prob, target, weights)
    return values


def _estimates(values: Scores, drawn: Scores, confidence: float) -> dict[str, dict[str, Estimate]]:
    """Join values and percentiles; resamples in which a score is not defined are left out."""
    tail = (1 - confidence) / 2
    result: dict[str, dict[str, Estimate]] = {}
    for (metric, scope), value in values.items():
        known = drawn[metric, scope][~np.isnan(drawn[metric, scope])]
        low, high = np.quantile(known, (tail, 1 - tail)).tolist() if len(known) else (math.nan, math.nan)
        result.setdefault(metric, {})[scope] = Estimate(float(value[0]), low, high)
    return result


def _as_counts(confusion: Floats) -> tuple[tuple[int, ...], ...]:
    """Nested tuples of int."""
    return tuple(tuple(row) for row in np.rint(confusion).astype(np.int64).tolist())


def _roc(
    prob: Floats, target: Ints, names: tuple[str, ...], counts: NDArray[np.int32], subject: Ints, confidence: float
) -> dict[str, RocCurve]:
    """Curves of the classes that have true cases and a rest."""
    result = {}
    for index, name in enumerate(names):
        rate, sensitivity = curves.roc_points(prob[:, index], target == index)
        if len(rate):
            band = curves.roc_band(
                prob[:, index], target == index, weight_blocks(counts, subject), confidence=confidence
            )
            low, high = (tuple(edge.tolist()) for edge in band)
            result[name] = curves.RocCurve(tuple(rate.tolist()), tuple(sensitivity.tolist()), low, high)
    return result


def _notes(
    confusion: Floats, names: tuple[str, ...], drawn: Scores, values: Scores, *, subjects: int
) -> tuple[str, ...]:
    """What a reader must know about undefined and degenerate scores."""
    notes = []
    true, predicted = confusion.sum(1), confusion.sum(0)
    absent = [name for name, count in zip(names, true, strict=True) if not count]
    if absent:
        notes.append(
            f"No true case of {', '.join(absent)}: its sensitivity, F1, AUROC and AUPRC are not defined, "
            "and macro averages run over the classes that are present."
        )
    if len(absent) == len(names) - 1:
        notes.append(
            "All cases are of one class: its specificity and every AUROC and AUPRC need cases of another class."
        )
    unused = [n for n, t, p in zip(names, true, predicted, strict=True) if t and not p]
    if unused:
        notes.append(f"Never predicted: {', '.join(unused)}; its precision and F1 are set to 0.")
    partial = [d for key, d in drawn.items() if not np.isnan(values[key][0]) and np.isnan(d).any()]
    if partial:
        share = max(float(np.isnan(d).mean()) for d in partial)
        notes.append(
            f"In up to {share:.1%} of the resamples a class went missing and some scores were not defined; "
            "their intervals rest on the other resamples."
        )
    if subjects == 1:
        notes.append("All cases are of one subject: there is nothing to resample, and the intervals have no meaning.")
    elif any(len(d) and d.min() == d.max() for d in drawn.values()):  # NaN is equal to nothing
        notes.append(
            "Some intervals have no width, because the cohort shows no error to resample: that is no certainty."
        )
    return tuple(notes)
