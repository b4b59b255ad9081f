"""``label_pixels``: the detections of a slice as one map of lesion types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ("label_pixels",)


def label_pixels(detections: Mapping[str, Tensor], *, mask_threshold: float = 0.5) -> Tensor:
    """Label each pixel with the class of the best detection that covers it.

    Args:
        detections: of one slice in torchvision's form: labels (N,) int64, scores (N,), masks (N, 1, H, W) in [0, 1].
        mask_threshold: a detection covers the pixels whose mask value is above it; 0.5 (slides).

    Returns:
        (H, W) uint8, 0 where nothing is detected.
    """
    masks = detections["masks"][:, 0]
    labels = torch.zeros(masks.shape[1:], dtype=torch.uint8, device=masks.device)
    for index in detections["scores"].argsort(stable=True).tolist():  # the best is painted last
        labels[masks[index] > mask_threshold] = int(detections["labels"][index])
    return labels
