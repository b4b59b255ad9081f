"""A learning rate that falls to zero over a training as a cosine."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

__all__ = ("cosine_to_zero",)


def cosine_to_zero(optimizer: Optimizer, *, epochs: int | None, at_most: Sequence[int | None] = ()) -> LambdaLR | None:
    """A scheduler, stepped once per epoch, under which the rate falls to zero as a cosine.

    Args:
        optimizer: whose rate it is.
        epochs: of the trainer; None or below 1 where their number is not set.
        at_most: of each parameter group, the epochs after which its rate is zero already; None: no sooner than all.
            Empty: of no group.

    Returns:
        The scheduler; None without a number of epochs, which keeps the rate.
    """
    if not epochs or epochs < 0:
        return None
    # LambdaLR keeps no number of epochs in its state: a training that is resumed for more of them follows those.
    ends = [epochs if most is None else min(epochs, most) for most in at_most or [None] * len(optimizer.param_groups)]
    return LambdaLR(optimizer, [partial(_falling, epochs=end) for end in ends])


def _falling(epoch: int, *, epochs: int) -> float:
    """Share of the learning rate in an epoch, from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1.0)))
