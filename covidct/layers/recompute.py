"""Activation checkpointing that leaves batch normalisation as it is without it."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

__all__ = ("recompute",)


def recompute(block: nn.Module, *inputs: Tensor) -> Tensor:
    """Run ``block`` on ``inputs`` without keeping its activations; the backward pass computes them again.

    PyTorch's ``torch.utils.checkpoint`` alone would update the running statistics of batch normalisation twice a step.

    Args:
        block: any module that returns one tensor.
        inputs: its inputs, any shapes.

    Returns:
        ``block(*inputs)``, same shape and dtype as that call gives.
    """
    result: Tensor = checkpoint(block, *inputs, use_reentrant=False, context_fn=partial(_contexts, block))
    return result


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the first run and of the run in the backward pass."""
    return nullcontext(), _frozen_statistics(block)


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Normalise by the batch, as in the first run, without moving the running statistics."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    kept = [(m.momentum, None if m.num_batches_tracked is None else m.num_batches_tracked.clone()) for m in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)
