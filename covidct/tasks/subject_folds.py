"""The folds of the subjects of :class:`covidct.tasks.TwoLevelTask`: dealt out evenly, the same on every process."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ("deal_folds", "folds_of")


def deal_folds(subject: Tensor, label: Tensor, *, known: Tensor, folds: int) -> Tensor:
    """Deal the training subjects out to folds.

    Those with labelled slices come first, then the others; in either group one class after the other; in each class by
    their hashes. So each fold has as many subjects of each kind as another, but for one. The order of the samples does
    not matter.

    Args:
        subject: (N,) int64, hashes of the subjects of samples.
        label: (N,) int64, classes of the samples.
        known: (N,) bool, whether the sample has labelled slices.
        folds: their number.

    Returns:
        (2, n) int64: the subjects, ascending, and the fold of each.
    """
    subjects, rows = torch.unique(subject, return_inverse=True)
    last = torch.full_like(subjects, -1).scatter_reduce(0, rows, label, "amax")
    unlabelled = ~torch.zeros_like(subjects, dtype=torch.bool).index_put((rows[known],), torch.tensor(data=True))
    order = torch.arange(len(subjects))
    for key in (last, unlabelled.long()):
        order = order[key[order].argsort(stable=True)]
    fold = torch.empty_like(subjects)
    fold[order] = torch.arange(len(subjects)) % folds
    return torch.stack([subjects, fold])


def folds_of(subject: Tensor, dealt: Tensor, *, folds: int) -> Tensor:
    """Look folds up.

    Args:
        subject: (N,) int64, hashes.
        dealt: (2, n) int64 of :func:`deal_folds`, on the same device; n may be 0.
        folds: their number.

    Returns:
        (N,) int64, 0 to ``folds`` - 1; of a subject that was not dealt out its hash modulo ``folds``.
    """
    fold = subject.remainder(folds)
    if not dealt.shape[1]:
        return fold
    subjects, known = dealt
    place = torch.searchsorted(subjects, subject).clamp(max=len(subjects) - 1)
    return torch.where(subjects[place] == subject, known[place], fold)
