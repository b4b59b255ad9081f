"""``evaluation``: a module in evaluation mode for a while."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

__all__ = ("evaluation",)


@contextmanager
def evaluation(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each part is in its own mode again afterwards.

    Args:
        network: any module.
    """
    modes = [(part, part.training) for part in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode
