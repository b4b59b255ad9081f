"""``FocalLoss``: cross-entropy that looks away from samples that are right already."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ("FocalLoss", "focal_loss")


class FocalLoss(nn.Module):
    """Focal loss (Lin et al., ICCV 2017, eq. 4 and 5) of classes by softmax: ``-w_t (1 - p_t)^gamma log p_t``.

    p_t is the probability of the true class and w_t its weight. The mean goes over the batch and is not divided by the
    weights, so that they act with one scan per batch too. The practicum's report gives the formula without weights and
    without gamma.

    Args:
        gamma: at least 0; 2 (recommendation, the paper's best); 0 is cross-entropy.
        weight: factor of each class, index = label, finite and at least 0; None is 1 for all.

    Raises:
        UsageError: for a gamma or a weight out of range.
    """

    weight: Tensor | None

    def __init__(self, gamma: float = 2.0, *, weight: Sequence[float] | None = None) -> None:
        """Keep the weights as a buffer."""
        super().__init__()
        check_gamma(gamma)
        if weight is not None and not all(0 <= factor < math.inf for factor in weight):
            raise UsageError(f"weight={list(weight)} is not usable: give one finite factor of at least 0 per class.")
        self.gamma = gamma
        self.register_buffer("weight", None if weight is None else torch.tensor(list(weight), dtype=torch.float32))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits: (N, C), any floating dtype.
            target: (N,) int64, class of each sample.

        Returns:
            () float32, float64 for such logits.

        Raises:
            UsageError: when the shapes do not belong together.
        """
        return focal_loss(logits, target, gamma=self.gamma, weight=self.weight)


def focal_loss(logits: Tensor, target: Tensor, *, gamma: float = 2.0, weight: Tensor | None = None) -> Tensor:
    """The formula of :class:`FocalLoss` (Lin et al., ICCV 2017), in float32 whatever the precision around it.

    Of float64 logits it is computed in float64.

    Args:
        logits: (N, C), any floating dtype.
        target: (N,) int64, class of each sample.
        gamma: at least 0.
        weight: (C,), factor of each class; None is 1 for all.

    Returns:
        () of that precision. Its gradient is finite for all finite logits.

    Raises:
        UsageError: when the shapes do not belong together.
    """
    if logits.ndim != 2 or target.shape != logits.shape[:1]:
        raise UsageError(
            f"The focal loss needs logits (N, C) and a target (N,), not {tuple(logits.shape)} and "
            f"{tuple(target.shape)}."
        )
    if weight is not None and weight.shape != logits.shape[1:]:
        raise UsageError(f"The focal loss has {len(weight)} class weights for {logits.shape[1]} classes: give as many.")
    with torch.autocast(logits.device.type, enabled=False):
        exact = logits if logits.dtype == torch.float64 else logits.float()
        cross = F.cross_entropy(exact, target, reduction="none")  # -log p_t
        terms = focal_terms(cross, gamma=gamma)
        return (terms if weight is None else terms * weight.to(exact.dtype)[target]).mean()


def check_gamma(gamma: float) -> None:
    """Refuse a gamma out of range.

    Raises:
        UsageError: says what to give.
    """
    if not 0 <= gamma < math.inf:
        raise UsageError(f"gamma={gamma} is not usable: give a finite number of at least 0.")


def focal_terms(cross: Tensor, *, gamma: float) -> Tensor:
    """Focal loss of each sample or pixel from its cross-entropy.

    Args:
        cross: ``-log p_t``, any shape, at least 0, in the precision to compute in.
        gamma: at least 0.

    Returns:
        ``(1 - p_t)^gamma (-log p_t)``, of that shape. Its gradient is finite.
    """
    # The power of 0 has no finite derivative where 0 < gamma < 1.
    wrong = -torch.expm1(-cross).clamp_max(-torch.finfo(cross.dtype).tiny)  # 1 - p_t, exact near 0
    return wrong**gamma * cross if gamma else cross
