"""``majority_vote``: one call out of the predictions of several networks, or of one network at several times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("majority_vote",)


def majority_vote(
    prob: NDArray[np.float32] | NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class that most voters call, and the mean of their probabilities.

    Args:
        prob: (E, N, C) probabilities of E voters.

    Returns:
        (N,) called class, of equally many votes the one with the greater mean probability; (N, C) means.

    Raises:
        UsageError: without a voter, or for another shape.
    """
    if prob.ndim != 3 or not len(prob):
        raise UsageError(f"majority_vote needs probabilities (E, N, C) of at least one voter, not {prob.shape}.")
    mean: NDArray[np.float64] = prob.astype(np.float64).mean(0)
    votes = np.eye(prob.shape[2])[prob.argmax(2)].sum(0)
    called: NDArray[np.int64] = (votes + mean / 2).argmax(1)  # means decide between equal counts only
    return called, mean
