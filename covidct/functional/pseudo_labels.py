"""``select_pseudo_labels``: confident predictions as labels of slices that have none.

D.-H. Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks" (ICML
workshop, 2013): the class of the highest probability is trained on as if it were the truth. The gated ensemble's paper
(D000, section 3.3.2) uses the word for soft probabilities that its second level takes. Threshold and quota are
recommendations; Lee has neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from covidct.errors import UsageError

__all__ = ("PseudoLabels", "pseudo_labels_above", "select_pseudo_labels")


_OUT_OF_REACH = 2.0  # finite, so that states can be compared


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """What :func:`select_pseudo_labels` takes.

    Attributes:
        index: (M,) int64, the rows taken, ascending.
        label: (M,) int64, their labels.
        bar: (C,) the probability of the least certain row taken of each class; 2, which none reaches, where none is.
        count: (C,) int64, rows taken of each class.
        known: (C,) int64, those of them whose true class is known.
        right: (C,) int64, those of them whose true class is the label.
    """

    index: torch.Tensor
    label: torch.Tensor
    bar: torch.Tensor
    count: torch.Tensor
    known: torch.Tensor
    right: torch.Tensor


def select_pseudo_labels(
    prob: torch.Tensor,
    *,
    threshold: float = 0.95,
    quota: int | None = None,
    allowed: torch.Tensor | None = None,
    truth: torch.Tensor | None = None,
) -> PseudoLabels:
    """Take the rows whose most probable class is probable enough, of each class the most certain ones.

    Args:
        prob: (N, C) probabilities; rows with NaN are never taken.
        threshold: least probability, in (0, 1]; 0.95 (recommendation).
        quota: most rows of each class, so that the easiest class does not flood the others; None: any number. Of
            equally certain rows the first are taken.
        allowed: (N, C) bool, classes that a row may have; one whose most probable class is another is not taken.
            None: all.
        truth: (N,) int64, -1 unknown: for the report alone. None: all unknown.

    Returns:
        Indices and labels of the M rows taken, (M,) int64, and what was taken of each class, (C,).

    Raises:
        UsageError: when the shapes do not fit or a number is out of range.
    """
    if prob.ndim != 2 or not prob.shape[1]:
        raise UsageError(f"Pseudo-labels need probabilities (N, C), not {tuple(prob.shape)}.")
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold={threshold} is not usable: give a probability above 0 and at most 1.")
    if quota is not None and (type(quota) is not int or quota < 1):
        raise UsageError(f"quota={quota!r} is not usable: give a whole number of at least 1, or null.")
    classes = prob.shape[1]
    least = torch.full((classes,), threshold, dtype=prob.dtype, device=prob.device)
    label = pseudo_labels_above(prob, least, allowed=allowed)
    if truth is not None and truth.shape != label.shape:
        raise UsageError(f"The true classes must be ({len(label)},), not {tuple(truth.shape)}.")
    sure = prob.amax(1)
    for one in range(classes) if quota is not None else ():
        rows = (label == one).nonzero()[:, 0]
        label[rows[sure[rows].argsort(descending=True, stable=True)[quota:]]] = -1
    index = (label >= 0).nonzero()[:, 0]
    taken = label[index]
    known = torch.zeros_like(taken, dtype=torch.bool) if truth is None else truth[index] >= 0
    right = known if truth is None else truth[index] == taken
    bar = torch.full_like(least, _OUT_OF_REACH).scatter_reduce(0, taken, sure[index], "amin")
    counts = [taken[chosen].bincount(minlength=classes) for chosen in (slice(None), known, right)]
    return PseudoLabels(index, taken, bar, *counts)


def pseudo_labels_above(prob: torch.Tensor, bar: torch.Tensor, *, allowed: torch.Tensor | None = None) -> torch.Tensor:
    """Label the rows whose most probable class reaches the bar of that class.

    Args:
        prob: (N, C) probabilities.
        bar: (C,), such as :attr:`PseudoLabels.bar`; above 1: no row gets that class.
        allowed: as in :func:`select_pseudo_labels`.

    Returns:
        (N,) int64, -1 for the others; of equally probable classes the first counts.

    Raises:
        UsageError: when the shapes do not fit.
    """
    if bar.shape != prob.shape[1:] or (allowed is not None and allowed.shape != prob.shape):
        raise UsageError(
            f"Probabilities {tuple(prob.shape)} need a bar per class and 'allowed' of their shape, not "
            f"{tuple(bar.shape)} and {None if allowed is None else tuple(allowed.shape)}."
        )
    sure, label = prob.max(1)
    good = sure >= bar[label]  # NaN is not
    if allowed is not None:
        good = good & allowed.gather(1, label[:, None])[:, 0]
    return torch.where(good, label, -1)
