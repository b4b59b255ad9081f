"""``SliceAttention``: a weighted mean over the slices of a volume, with weights that a small network finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from covidct.errors import BatchError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("SliceAttention",)


class SliceAttention(nn.Module):
    """Two-layer tanh attention: e_n = w' tanh(b f_n), alpha = softmax over n, S = sum of alpha_n f_n.

    "Semi-supervised Network for Detection of COVID-19 in Chest CT Scans", eqs. 18 and 19 (the sum of eq. 19 runs over
    an index of its own), without biases as there. The same form as Ilse et al., "Attention-based Deep Multiple Instance
    Learning" (2018), whose width the default is.

    Args:
        features: length of f_n.
        width: length of tanh(b f_n); 128 (Ilse et al.; the document is silent).
    """

    def __init__(self, features: int, *, width: int = 128) -> None:
        """Build the two layers."""
        super().__init__()
        self.hidden = nn.Linear(features, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pool the slices; in float32 under autocast too.

        Args:
            features: (B, N, F).
            mask: (B, N) bool, True = real slice; None: all are.

        Returns:
            pooled (B, F) and alpha (B, N), both float32; alpha is a share: it sums to one over the real slices of a
            volume and is 0 on the others.

        Raises:
            BatchError: when a volume has no real slice.
        """
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            scores = self.score(torch.tanh(self.hidden(features)))[..., 0]
            if mask is not None:
                if not bool(mask.any(1).all()):
                    raise BatchError("A volume of the batch has no real slice: its slice_mask is False throughout.")
                scores = scores.masked_fill(~mask, -torch.inf)
            alpha = scores.softmax(1)
            return torch.einsum("bn,bnf->bf", alpha, features), alpha
