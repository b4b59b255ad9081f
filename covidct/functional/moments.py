"""Mean and spread of any number of values in one pass: blocks are merged, nothing is kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("Moments", "add_values")


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What is known of the values so far, at each place of an array or of all places together.

    Attributes:
        count: values so far, of each place.
        mean: float64 mean, any shape.
        squares: float64 sum of the squared differences from the mean, of the same shape.
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of the population (divided by the count, numpy's default); NaN without values."""
        return np.sqrt(self.squares / self.count) if self.count else np.full_like(self.mean, np.nan)


def add_values(moments: Moments | None, values: NDArray[Any]) -> Moments:
    """Take in a block of values by the update of Chan, Golub and LeVeque.

    ("Algorithms for computing the sample variance", Am Stat 1983;37:242; Welford's for single values.) It has no sum
    of squares from which a square is taken, so nothing cancels.

    Args:
        moments: of what came before; None at the start.
        values: (N, ...) numbers, N new values of each place; they are float64 at once.

    Returns:
        The moments of both together.
    """
    block = values.astype(np.float64)
    added = len(block)
    if added == 0:
        return moments or Moments(0, np.zeros(block.shape[1:]), np.zeros(block.shape[1:]))
    mean = np.asarray(block.mean(0))
    block -= mean
    block *= block
    squares = np.asarray(block.sum(0))
    if moments is None or moments.count == 0:
        return Moments(added, mean, squares)
    total = moments.count + added
    shift = mean - moments.mean
    between = shift * shift * (moments.count * added / total)
    return Moments(total, moments.mean + shift * (added / total), moments.squares + (squares + between))
