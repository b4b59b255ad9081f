"""Optimal transport between two samples of equal weights: exact (network simplex) and entropic (Sinkhorn), by POT."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from covidct.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("EXACT_UP_TO", "entropic_transport", "exact_transport", "squared_distances")

EXACT_UP_TO = 2_000  # samples a side (recommendation, facts 1.2); the simplex grows faster than with the square
_PIVOTS = 100_000_000  # of the simplex; POT's default, 100,000, ends early from a thousand samples on
_ANNEALING = 0.5  # the regularisation is halved from the largest cost down: far fewer steps than a cold start
_STEPS = 2_000  # of Sinkhorn at the final regularisation
_TOLERANCE = 1e-4  # relative error of the marginals at which Sinkhorn ends; that of the value is of second order

logger = logging.getLogger(__name__)


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Squared Euclidean distances.

    Args:
        first: (N, d), any float.
        second: (M, d) on the same device.

    Returns:
        (N, M) float64, at least 0.
    """
    import ot

    centre = first.double().mean(0)  # distances do not depend on it, digits of |x|^2 + |y|^2 - 2 xy do
    return ot.dist(first.double() - centre, second.double() - centre, metric="sqeuclidean").clamp_(min=0)  # type: ignore[no-any-return]


def exact_transport(cost: Tensor) -> tuple[float, Tensor]:
    """Least cost of moving one sample onto the other.

    Args:
        cost: (N, M) float64; the weights are 1 / N and 1 / M.

    Returns:
        The cost, and the coupling (N, M), whose rows sum to 1 / N and columns to 1 / M.

    Raises:
        InputError: when the solver ends without a solution.
    """
    import ot

    plan, log = ot.emd([], [], cost.detach().cpu().numpy(), numItermax=_PIVOTS, log=True)
    if log["warning"] is not None:
        reason = " ".join(str(log["warning"]).split())
        raise InputError(f"The exact transport of {tuple(cost.shape)} samples found no solution ({reason}).")
    return float(log["cost"]), torch.from_numpy(np.asarray(plan)).to(cost.device)


def entropic_transport(cost: Tensor, epsilon: float) -> tuple[float, Tensor]:
    """Entropic transport, ``min <P, C> + epsilon KL(P | a b^T)``, by Sinkhorn's iteration on logarithms.

    The value is that of the dual, as the Sinkhorn divergence needs it: with it, not with ``<P, C>`` alone, the debiased
    divergence is positive and zero for equal samples (J. Feydy et al., "Interpolating between optimal transport and
    MMD using Sinkhorn divergences", AISTATS 2019).

    Args:
        cost: (N, M) float64; the weights are 1 / N and 1 / M.
        epsilon: in units of the cost, positive.

    Returns:
        The value, and the coupling (N, M).
    """
    from ot.bregman import sinkhorn_log

    rows, columns = cost.shape
    a, b = (torch.full((count,), 1 / count, dtype=cost.dtype, device=cost.device) for count in (rows, columns))
    start = max(float(cost.max()), epsilon)
    halvings = math.ceil(math.log(start / epsilon, 1 / _ANNEALING)) if start > epsilon else 0
    tolerance = _TOLERANCE / math.sqrt(columns)  # POT measures |P^T 1 - b|, and |b| is 1 / sqrt(M)
    f, g = torch.zeros_like(a), torch.zeros_like(b)  # potentials, in units of the cost
    for left in range(halvings, -1, -1):
        now = epsilon / _ANNEALING**left
        plan, log = sinkhorn_log(
            a,
            b,
            cost,
            now,
            numItermax=_STEPS if left == 0 else 10,
            stopThr=tolerance,
            log=True,
            warn=False,
            warmstart=(f / now + a.log(), g / now + b.log()),
        )
        f, g = now * (log["log_u"] - a.log()), now * (log["log_v"] - b.log())
    if float(log["err"][-1]) > tolerance:
        logger.warning(
            "Sinkhorn stopped after %d steps with the weights off by a share of %.1e: raise epsilon.",
            _STEPS,
            float(log["err"][-1]) * math.sqrt(columns),
        )
    return float(f.mean() + g.mean()), plan
