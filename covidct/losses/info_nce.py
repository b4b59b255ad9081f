"""``InfoNCELoss``: contrast of each image with its own second view against a queue of other images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("InfoNCELoss",)


class InfoNCELoss(nn.Module):
    """InfoNCE with one positive per query and the negatives of a queue, in float32.

    For unit vectors q (query), k (its key) and n_1 ... n_K (queue) and temperature T, the mean over the batch of
    ``-log(exp(q k / T) / (exp(q k / T) + sum_i exp(q n_i / T)))`` (He et al., "Momentum Contrast", 2020, equation 1).
    Vectors of any length are normalised here.

    Args:
        temperature: T, above 0. 0.07 is MoCo's, 0.2 that of its second version (published code).

    Raises:
        UsageError: when the temperature is not a finite number above 0.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        """Keep the temperature."""
        super().__init__()
        if not 0 < temperature < math.inf:
            raise UsageError(f"temperature={temperature} must be a finite number above 0.")
        self.temperature = temperature

    def logits(self, query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
        """Similarities over the temperature: the positive first, then the queue.

        Args:
            query: (N, d), any floating dtype.
            key: (N, d), row i is the other view of query i.
            queue: (K, d), negatives of all queries.

        Returns:
            (N, 1 + K) float32, in [-1/T, 1/T].

        Raises:
            UsageError: when the shapes do not belong together.
        """
        if query.ndim != 2 or key.shape != query.shape or queue.ndim != 2 or queue.shape[1] != query.shape[1]:
            raise UsageError(
                "InfoNCELoss needs a query (N, d), a key (N, d) and a queue (K, d), not "
                f"{tuple(query.shape)}, {tuple(key.shape)} and {tuple(queue.shape)}."
            )
        with torch.autocast(query.device.type, enabled=False):
            q, k, negatives = (F.normalize(vectors.float(), dim=1) for vectors in (query, key, queue))
            positive = (q * k).sum(1, keepdim=True)
            return torch.cat([positive, q @ negatives.T], 1) / self.temperature

    def from_logits(self, logits: Tensor) -> Tensor:
        """Cross-entropy whose true class is the first column.

        Args:
            logits: (N, 1 + K), as :meth:`logits` gives them.

        Returns:
            () float32, at least 0.
        """
        return F.cross_entropy(logits.float(), torch.zeros(len(logits), dtype=torch.int64, device=logits.device))

    def forward(self, query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            query: as in :meth:`logits`.
            key: as in :meth:`logits`.
            queue: as in :meth:`logits`.

        Returns:
            () float32, at least 0.
        """
        return self.from_logits(self.logits(query, key, queue))
