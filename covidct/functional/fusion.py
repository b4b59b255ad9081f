"""Decision fusion: one decision out of the probabilities of several classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from covidct.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

__all__ = ("FusionRule", "fit_fusion_weights", "fuse_probabilities")

FusionRule = Literal["mean", "vote"]

_TIE = 1e-3  # largest share of the mean among votes: decides between equal votes and changes no others
_EQUAL = 1e-6  # votes that differ by less are equal: sums of float32
_STEPS = 10_000
_CLOSE = 1e-10


def fuse_probabilities(prob: Tensor, weights: Tensor, *, rule: FusionRule = "mean") -> Tensor:
    """Join the probabilities of several classifiers.

    The practicum's report fuses decisions (section 3.3.1) and does not say how; the weighted mean is a recommendation.

    Args:
        prob: (M, N, C) probabilities of M classifiers.
        weights: (M,) at least 0, with a sum above 0; brought to the sum 1.
        rule: ``"mean"``, or ``"vote"``: the weighted share of the classifiers that call the class; between equal votes
            the weighted mean decides.

    Returns:
        (N, C) float32, each row summing to one.

    Raises:
        UsageError: for shapes that do not fit, impossible weights, or an unknown rule.
    """
    if prob.ndim != 3 or weights.shape != prob.shape[:1]:
        raise UsageError(
            f"prob must be (M, N, C) and weights (M,); their shapes are {tuple(prob.shape)} and {tuple(weights.shape)}."
        )
    if not torch.compiler.is_compiling() and (bool((weights < 0).any()) or not float(weights.sum()) > 0):
        raise UsageError(f"The weights {weights.tolist()} cannot be used: give numbers of at least 0, one above 0.")
    prob, shares = prob.float(), (weights.float() / weights.sum())[:, None, None]
    mean = (prob * shares).sum(0)
    if rule == "mean":
        return mean
    if rule != "vote":
        raise UsageError(f"rule={rule!r} is unknown: use 'mean' or 'vote'.")
    called = torch.nn.functional.one_hot(prob.argmax(-1), prob.shape[-1])
    votes = (called * shares).sum(0)
    most = votes.amax(-1, keepdim=True)
    behind = votes.masked_fill(votes > most - _EQUAL, -torch.inf).amax(-1, keepdim=True)
    tie = ((most - behind) / 2).clamp(max=_TIE)  # too little for those behind
    return (1 - tie) * votes + tie * mean


def fit_fusion_weights(
    prob: ArrayLike, label: ArrayLike, *, subject: ArrayLike | None = None, prior: float = 1.0
) -> NDArray[np.float64]:
    """Weights of the mean that make held-out labels most probable; give it validation subjects only.

    Expectation maximisation for the weights of a mixture (A. Dempster et al., J R Stat Soc B 1977;39:1, section 4.3),
    which has one maximum, since the logarithm of a mean is concave in its weights.

    Args:
        prob: (M, N, C) probabilities of M classifiers, at least 0.
        label: (N,) class indices.
        subject: (N,) names of the subjects; each counts once, however many cases it has. None: each case does.
        prior: subjects that speak for every classifier beforehand; 0 is the maximum of the likelihood, more draws
            the weights to equal ones (recommendation: 1).

    Returns:
        (M,) weights, at least 0, summing to one; equal ones when nothing tells the classifiers apart.

    Raises:
        UsageError: for shapes that do not fit, or a prior below 0.
    """
    p, target = np.asarray(prob, dtype=np.float64), np.asarray(label)
    if p.ndim != 3 or target.shape != p.shape[1:2] or not len(target):
        raise UsageError(
            f"prob must be (M, N, C) and label (N,) with N >= 1; their shapes are {p.shape} and {target.shape}."
        )
    if not (np.isfinite(p).all() and (p >= 0).all() and prior >= 0):
        raise UsageError("Probabilities and prior must be numbers of at least 0.")
    of_truth = np.maximum(np.take_along_axis(p, target[None, :, None], axis=2)[..., 0], np.finfo(np.float64).tiny)
    counts = np.ones(len(target))
    if subject is not None:
        _, group, size = np.unique(np.asarray(subject), return_inverse=True, return_counts=True)
        counts = 1.0 / size[group]
    weights = np.full(len(p), 1 / len(p))
    for _ in range(_STEPS):
        parts = weights[:, None] * of_truth
        responsible = (parts / parts.sum(0) * counts).sum(1) + prior
        updated: NDArray[np.float64] = responsible / responsible.sum()
        if np.abs(updated - weights).max() < _CLOSE:
            return updated
        weights = updated
    return weights
