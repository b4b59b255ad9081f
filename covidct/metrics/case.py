"""``CaseMetrics``: scores over whole cases during training, right under several processes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from covidct.errors import UsageError
from covidct.metrics import scores
from covidct.metrics.gathering import CollectedCases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ("CaseMetrics", "Cases", "case_scores", "subject_cases")

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cases:
    """What a :class:`CaseMetrics` has collected, one entry per scan, sorted by scan.

    Attributes:
        scan: (N,) int64 keys.
        subject: (N,) int64.
        prob: (N, C) float32.
        target: (N,) int64.
    """

    scan: NDArray[np.int64]
    subject: NDArray[np.int64]
    prob: NDArray[np.float32]
    target: NDArray[np.int64]


def subject_cases(cases: Cases) -> Cases:
    """One entry per subject, for the scores of patients.

    The probabilities are the mean over the subject's cases (recommendation: the document of the mask-weighted network
    and COVID-CT report scans and slices alone). The class is the last one in canonical order among those of the cases:
    a patient with one slice or scan of COVID-19 among normal ones has COVID-19.

    Args:
        cases: scans or slices, at least one.

    Returns:
        (S,) entries sorted by subject; ``scan`` is the subject.
    """
    subjects, place, counts = np.unique(cases.subject, return_inverse=True, return_counts=True)
    sums = np.zeros((len(subjects), cases.prob.shape[1]))
    np.add.at(sums, place, cases.prob.astype(np.float64))
    target = np.full(len(subjects), -1, dtype=np.int64)
    np.maximum.at(target, place, cases.target)
    return Cases(subjects, subjects, (sums / counts[:, None]).astype(np.float32), target)


class CaseMetrics(CollectedCases):
    """Collects one prediction per case and scores the set at the end of the epoch.

    Of equal ``scan`` keys the first is kept, over all processes; see :class:`CollectedCases`.

    ``compute`` gives scalars named ``accuracy``, ``calibration_error``, ``auroc`` and ``auprc`` (macro over the
    classes, one-vs-rest), ``auroc_<last>`` and ``auprc_<last>`` (the last class: COVID-19 in the canonical order),
    ``sensitivity_<class>``, ``specificity_<class>``, ``precision_<class>``, ``f1_<class>`` and their ``..._macro``.
    The rules are those of :func:`covidct.metrics.triage_report`; what is not defined is NaN.

    Args:
        class_names: C names, index = label.
    """

    scan: list[Tensor]
    subject: list[Tensor]
    prob: list[Tensor]
    target: list[Tensor]

    def __init__(self, class_names: Sequence[str]) -> None:
        """Set up empty states."""
        key = (torch.int64, ())
        super().__init__({"scan": key, "subject": key, "target": key, "prob": (torch.float32, (len(class_names),))})
        self.class_names = tuple(class_names)
        if len(self.class_names) < 2:
            raise UsageError(f"CaseMetrics needs at least two classes, {list(self.class_names)} has fewer.")

    def update(self, prob: Tensor, target: Tensor, *, scan: Tensor, subject: Tensor) -> None:
        """Add a batch.

        Args:
            prob: (B, C) probabilities, any floating dtype.
            target: (B,) int64 class indices.
            scan: (B,) int64 key of the case; equal keys are the same case.
            subject: (B,) int64 key of the subject.

        Raises:
            UsageError: when the shapes do not fit.
        """
        batch = {"scan": scan, "subject": subject, "target": target, "prob": prob}
        shapes = {name: (len(prob), *row) for name, (_, row) in self.columns.items()}
        wrong = {name: tuple(value.shape) for name, value in batch.items() if tuple(value.shape) != shapes[name]}
        if wrong:
            raise UsageError(f"CaseMetrics got {wrong}, it needs {shapes}.")
        self.append(batch)

    def compute(self) -> dict[str, Tensor]:
        """Scalar float32 tensors by name; NaN where a score is not defined, no case was seen, or the network gave NaN.

        Raises:
            UsageError: when a target is no index of a class.
        """
        cases = self.cases()
        if len(cases.target) and not 0 <= cases.target.min() <= cases.target.max() < len(self.class_names):
            raise UsageError(
                f"CaseMetrics got targets from {cases.target.min()} to {cases.target.max()}, it needs indices of "
                f"{len(self.class_names)} classes: leave out cases of unknown class."
            )
        lost = np.asarray(~np.isfinite(cases.prob).all(1))
        values = case_scores(np.where(lost[:, None], 0.0, cases.prob), cases.target, self.class_names)
        if lost.any():
            _LOGGER.warning("%d of %d cases have probabilities that are not finite: no score.", lost.sum(), len(lost))
            values = dict.fromkeys(values, float("nan"))
        return {name: torch.tensor(value, dtype=torch.float32, device=self.device) for name, value in values.items()}

    def cases(self) -> Cases:
        """The cases of this process, or of all processes while synchronised, each once."""
        return Cases(**self.rows())


def case_scores(
    prob: NDArray[np.float64],
    target: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    predicted: NDArray[np.int64] | None = None,
) -> dict[str, float]:
    """The scores that :class:`CaseMetrics` gives, by the same names.

    Args:
        prob: (N, C) probabilities.
        target: (N,) class indices.
        class_names: C names.
        predicted: (N,) classes that were called; None: the most probable ones.

    Returns:
        Values by name; NaN where a score is not defined.
    """
    names = tuple(class_names)
    if not len(prob):
        prob, target, weights = np.eye(len(names))[:1], np.zeros(1, np.int64), np.zeros((1, 1))
        predicted = None
    else:
        weights = np.ones((1, len(prob)))
    called = prob.argmax(1) if predicted is None else predicted
    confusion = scores.weighted_confusion(called, target, weights, classes=len(names))
    true = confusion.sum(2)
    present = true[0] > 0
    found = scores.confusion_scores(confusion, names, present)
    for metric, ranked in zip(("auroc", "auprc"), scores.rank_scores(prob, target, weights), strict=True):
        found |= scores.averaged(metric, ranked, true, names, present)
    result = {
        "accuracy": found["accuracy", "overall"],
        "calibration_error": scores.calibration_error(prob, target, weights),
    }
    for metric in ("auroc", "auprc"):
        result |= {metric: found[metric, "macro"], f"{metric}_{names[-1]}": found[metric, names[-1]]}
    for metric in ("sensitivity", "specificity", "precision", "f1"):
        result |= {f"{metric}_{scope}": found[metric, scope] for scope in (*names, "macro")}
    return {name: float(value[0]) for name, value in result.items()}
