"""``CaseMetrics``: scores over whole cases during training, right under several processes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from covidct.errors import UsageError
from covidct.metrics import scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor
    from torch.distributed import ProcessGroup

__all__ = ("CaseMetrics", "Cases")

_LOGGER = logging.getLogger(__name__)
_DTYPES = {"scan": torch.int64, "subject": torch.int64, "target": torch.int64, "prob": torch.float32}


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


class CaseMetrics(Metric):
    """Collects one prediction per case and scores the set at the end of the epoch.

    A distributed sampler hands some cases to two processes to even the load, so cases are keyed by ``scan``: of equal
    keys the first is kept. A process that saw no case takes part in the gathering like the others.

    ``compute`` gives scalars named ``accuracy``, ``calibration_error``, ``auroc`` and ``auprc`` (macro over the
    classes, one-vs-rest), ``auroc_<last>`` and ``auprc_<last>`` (the last class: COVID-19 in the canonical order),
    ``sensitivity_<class>``, ``specificity_<class>``, ``precision_<class>``, ``f1_<class>`` and their ``..._macro``.
    The rules are those of :func:`covidct.metrics.triage_report`; what is not defined is NaN.

    Args:
        class_names: C names, index = label.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    scan: list[Tensor]
    subject: list[Tensor]
    prob: list[Tensor]
    target: list[Tensor]

    def __init__(self, class_names: Sequence[str]) -> None:
        """Set up empty states."""
        super().__init__()
        self.class_names = tuple(class_names)
        if len(self.class_names) < 2:
            raise UsageError(f"CaseMetrics needs at least two classes, {list(self.class_names)} has fewer.")
        for name in _DTYPES:
            self.add_state(name, [], dist_reduce_fx="cat")

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
        shapes = {name: (len(prob),) for name in _DTYPES} | {"prob": (len(prob), len(self.class_names))}
        wrong = {name: tuple(value.shape) for name, value in batch.items() if tuple(value.shape) != shapes[name]}
        if wrong:
            raise UsageError(f"CaseMetrics got {wrong}, it needs {shapes}.")
        for name, value in batch.items():
            getattr(self, name).append(value.detach().to(_DTYPES[name]))

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
        values = _score(np.where(lost[:, None], 0.0, cases.prob), cases.target, self.class_names)
        if lost.any():
            _LOGGER.warning("%d of %d cases have probabilities that are not finite: no score.", lost.sum(), len(lost))
            values = dict.fromkeys(values, float("nan"))
        return {name: torch.tensor(value, dtype=torch.float32, device=self.device) for name, value in values.items()}

    def cases(self) -> Cases:
        """The cases of this process, or of all processes while synchronised, each once."""
        arrays = {name: self._joined(name).cpu().numpy() for name in _DTYPES}
        _, first = np.unique(arrays["scan"], return_index=True)
        return Cases(**{name: array[first] for name, array in arrays.items()})

    def _joined(self, name: str) -> Tensor:
        """One tensor of a state, of the right form even when it is empty."""
        state: list[Tensor] | Tensor = getattr(self, name)
        if isinstance(state, list) and not state:
            width = (len(self.class_names),) if name == "prob" else ()
            return torch.empty((0, *width), dtype=_DTYPES[name], device=self.device)
        return dim_zero_cat(state)

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: ProcessGroup | None = None
    ) -> None:
        """Give empty states their dtype and rank first: torchmetrics fills in (0,) float32, which does not gather."""
        for name in _DTYPES:
            setattr(self, name, [self._joined(name)])
        super()._sync_dist(dist_sync_fn, process_group)


def _score(prob: NDArray[np.float64], target: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, float]:
    """Flat names and values of the scores without intervals."""
    if not len(prob):
        prob, target, weights = np.eye(len(names))[:1], np.zeros(1, np.int64), np.zeros((1, 1))
    else:
        weights = np.ones((1, len(prob)))
    confusion = scores.weighted_confusion(prob.argmax(1), target, weights, classes=len(names))
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
