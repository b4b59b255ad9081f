"""``ContrastiveMetrics`` and ``FeatureMetrics``: what a contrastive training shows of itself and of its features."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torchmetrics import Metric

from covidct.metrics.gathering import CollectedCases

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("ContrastiveMetrics", "FeatureMetrics", "feature_spread")


def feature_spread(features: Tensor) -> Tensor:
    """Spread of directions, the sign of a collapse: 0 when all are one, about 1 when they are even on the sphere.

    The standard deviation over the samples of each coordinate of the unit vectors, averaged, times the square root of
    their number (Chen & He, "Exploring simple Siamese representation learning", 2021, figure 2).

    Args:
        features: (N, F), any floating dtype and length.

    Returns:
        () float32; NaN for no sample, 0 for one.
    """
    if not len(features):
        return torch.full((), torch.nan, device=features.device)
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    return unit.std(0, correction=0).mean() * math.sqrt(unit.shape[1])


class ContrastiveMetrics(Metric):
    """Scores of contrastive training batches, over all processes.

    ``compute`` gives ``contrastive_accuracy``, the share of queries whose own key is nearer than every negative, and
    ``feature_std``, the :func:`feature_spread` of the queries, averaged over the batches by their size.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    found: Tensor
    spread: Tensor
    total: Tensor

    def __init__(self) -> None:
        """Set up empty sums."""
        super().__init__()
        for name in ("found", "spread", "total"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, logits: Tensor, query: Tensor) -> None:
        """Add a batch.

        Args:
            logits: (B, 1 + K), the positive first.
            query: (B, d) projections.
        """
        logits = logits.detach().float()
        self.found += (logits[:, 0] > logits[:, 1:].amax(1)).sum()  # a tie, as after a collapse, is no find
        self.spread += feature_spread(query.detach()) * len(logits)
        self.total += len(logits)

    def compute(self) -> dict[str, Tensor]:
        """Scalar float32 tensors by name; NaN before the first batch."""
        return {"contrastive_accuracy": self.found / self.total, "feature_std": self.spread / self.total}


class FeatureMetrics(CollectedCases):
    """Collects the features of each sample once, over all processes; see :class:`CollectedCases`.

    ``compute`` gives ``feature_std``, their :func:`feature_spread`.

    Args:
        width: number of features.
    """

    scan: list[Tensor]
    subject: list[Tensor]
    target: list[Tensor]
    features: list[Tensor]

    def __init__(self, width: int) -> None:
        """Set up empty states."""
        key = (torch.int64, ())
        super().__init__({"scan": key, "subject": key, "target": key, "features": (torch.float32, (width,))})

    def update(self, features: Tensor, target: Tensor, *, scan: Tensor, subject: Tensor) -> None:
        """Add a batch.

        Args:
            features: (B, width), any floating dtype.
            target: (B,) int64 class indices, -1 unknown.
            scan: (B,) int64 key of the sample; equal keys are the same sample.
            subject: (B,) int64 key of the subject.
        """
        self.append({"scan": scan, "subject": subject, "target": target, "features": features})

    def compute(self) -> dict[str, Tensor]:
        """Scalar float32 tensors by name; NaN before the first batch."""
        return {"feature_std": feature_spread(torch.from_numpy(self.rows()["features"])).to(self.device)}
