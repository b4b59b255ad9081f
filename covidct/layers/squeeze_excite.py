"""``SqueezeExcite``: channel weights from the means of the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

from covidct.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("SqueezeExcite",)


class SqueezeExcite(nn.Module):
    """Squeeze and excitation (Hu et al., CVPR 2018, eq. 2 to 4): ``y = s x``, ``s = sigmoid(W2 ReLU(W1 mean(x)))``.

    Without biases, as in the paper's equations: 2 C^2 / r parameters.

    Args:
        channels: C.
        reduction: r; 16 in the paper, section 6.1.

    Raises:
        UsageError: when ``reduction`` does not divide ``channels``.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        """Build the two layers."""
        super().__init__()
        if reduction < 1 or channels < reduction or channels % reduction:
            raise UsageError(f"reduction={reduction} must divide the {channels} channels.")
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Weigh feature maps.

        Args:
            maps: (N, C, H, W), any floating dtype.

        Returns:
            (N, C, H, W) of the same dtype.
        """
        weights: Tensor = self.excite(F.relu(self.squeeze(maps.mean((2, 3))))).sigmoid()
        return maps * weights[..., None, None]
