"""Training the last layer alone, so that networks which differ in their pooling pool the same features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("adam_of_head",)


def adam_of_head(parameters: Iterable[torch.nn.Parameter], *, lr: float = 1e-2) -> torch.optim.Adam:
    """Adam on the weight and bias of the last layer; everything before keeps its initial weights.

    Give ``functools.partial(adam_of_head, lr=...)`` as the ``optimizer`` of a task. No gradient is computed for the
    rest, so that a step costs a forward pass; batch normalisation still gathers its statistics.

    Args:
        parameters: of the task; they are told from now on that they need no gradient, but for the last two.
        lr: learning rate.

    Returns:
        The optimizer.
    """
    *rest, weight, bias = parameters
    for parameter in rest:
        parameter.requires_grad_(False)
    return torch.optim.Adam([weight, bias], lr=lr)
