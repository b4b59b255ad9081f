"""What a network that fuses the slices of a scan says of each slice alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from covidct.models import COVNet, MaskedGAPResNet

__all__ = ("logits_and_slice_scores",)


def logits_and_slice_scores(network: COVNet | MaskedGAPResNet, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """Logits of scans and scores of their slices from one pass of the trunk.

    Args:
        network: gives ``slice_features``, and fuses them before its ``head``.
        inputs: its arguments.

    Returns:
        (B, C) logits, and (B, D, C) float32 scores: the head on each slice alone, after softmax; NaN where a slice was
        not used (padding, no lung).
    """
    features, used = network.slice_features(*inputs)
    logits: Tensor = network.head(network.fuse(features, used))
    scores: Tensor = network.head(features).float().softmax(-1)
    return logits, scores.masked_fill(~used[..., None], torch.nan)
