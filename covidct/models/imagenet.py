"""What belongs to torchvision's published weights: statistics of the images they were trained on, and their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = (
    "IMAGENET_GREY_MEAN",
    "IMAGENET_GREY_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "modern_name",
    "statistics_buffer",
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Red, green and blue in [0, 1]: torchvision.transforms' presets of all its ImageNet weights."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""As :data:`IMAGENET_MEAN`."""

IMAGENET_GREY_MEAN = (sum(IMAGENET_MEAN) / 3,)
"""Of a network with one input channel: the mean of the three, 0.449 (recommendation)."""

IMAGENET_GREY_STD = (sum(IMAGENET_STD) / 3,)
"""As :data:`IMAGENET_GREY_MEAN`, 0.226."""


def statistics_buffer(name: str, values: Sequence[float], *, channels: int = 3) -> Tensor:
    """Mean or standard deviation as a buffer of a network.

    Args:
        name: ``"mean"`` or ``"std"``.
        values: of one or all channels, of images in [0, 1].
        channels: that the network sees, 1 or 3.

    Returns:
        (1, 1 or ``channels``, 1, 1) float32.

    Raises:
        UsageError: when there are more or fewer, a mean is not in [0, 1], or a standard deviation not in [1e-6, 1].
    """
    low = 0 if name == "mean" else 1e-6
    if len(values) not in (1, channels) or not all(low <= value <= 1 for value in values):
        count = "one number" if channels == 1 else "one or three numbers"
        raise UsageError(f"{name}={list(values)} is not usable: give {count} for images in [0, 1].")
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def modern_name(name: str) -> str:
    """An entry of torchvision's DenseNets as they call it since 2018: their published files are older.

    Args:
        name: ``"features.denseblock1.denselayer1.norm.1.weight"``, or any other, which stays as it is.
    """
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)
