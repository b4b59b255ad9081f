"""``sliding_window_labels``: labels of a volume larger than a network was trained on, without its whole softmax."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = ("sliding_window_labels",)


def sliding_window_labels(
    predict: Callable[[Tensor], Tensor], volume: Tensor, *, window: int | Sequence[int], overlap: float = 0.25
) -> Tensor:
    """Segment a volume window by window and keep the labels alone.

    Windows stand evenly along each axis, from edge to edge. Every voxel takes the label of the window whose centre is
    nearest (per axis; between two, the later): of two windows that overlap, each owns its half of the overlap. So no
    votes are counted and no probabilities added, the memory beyond the labels is that of one window, and the result is
    that of the whole volume, exactly, for a network whose receptive field reaches no further than half the overlap.

    Args:
        predict: (B, C, d, h, w) of the window's size to logits (B, K, d, h, w), 2 to 256 classes; evaluation mode.
        volume: (B, C, D, H, W); axes shorter than the window are padded with 0 (air) at the far end and cropped back.
        window: voxels along each axis, or one number for all.
        overlap: least share of the window that neighbours have in common, at least 0 and below 1; a quarter
            (recommendation).

    Returns:
        (B, 1, D, H, W) uint8 on the device of ``volume``.

    Raises:
        UsageError: when an argument is wrong or ``predict`` gives another size.
    """
    sides = (window,) * 3 if isinstance(window, int) else tuple(window)
    if volume.ndim != 5 or len(sides) != 3 or min(sides) < 1 or not 0 <= overlap < 1:
        raise UsageError(
            f"A volume (B, C, D, H, W), a window of 1 or 3 positive numbers and an overlap in [0, 1) are needed, not "
            f"{tuple(volume.shape)}, window={window} and overlap={overlap}."
        )
    size = volume.shape[2:]
    labels = torch.zeros((len(volume), 1, *size), dtype=torch.uint8, device=volume.device)
    axes = [_windows(full, side, overlap) for full, side in zip(size, sides, strict=True)]
    for place in product(*axes):
        d, h, w = (slice(start, start + side) for (start, _), side in zip(place, sides, strict=True))
        part = volume[:, :, d, h, w]
        short = [(0, side - have) for have, side in zip(part.shape[2:], sides, strict=True)]
        if any(missing for _, missing in short):
            part = F.pad(part, [edge for pair in reversed(short) for edge in pair])
        logits = predict(part)
        if logits.shape[2:] != torch.Size(sides):
            raise UsageError(
                f"The network gives {tuple(logits.shape[2:])} voxels for a window of {sides}: use one that keeps the "
                "size."
            )
        d, h, w = (owned for _, owned in place)
        k, i, j = (slice(owned.start - start, owned.stop - start) for start, owned in place)
        labels[:, :, d, h, w] = logits[:, :, k, i, j].argmax(1, keepdim=True)
    return labels


def _windows(full: int, side: int, overlap: float) -> list[tuple[int, slice]]:
    """First voxel of each window of an axis, and the voxels that it owns."""
    step = max(int(side * (1 - overlap)), 1)
    spare = max(full - side, 0)
    count = -(-spare // step) + 1
    starts = [spare * k // max(count - 1, 1) for k in range(count)]
    # between the centres of neighbours: (a + b + side) / 2 is the first voxel that is not nearer to the former
    borders = [0, *((a + b + side) // 2 for a, b in pairwise(starts)), full]
    return [(start, slice(*own)) for start, own in zip(starts, pairwise(borders), strict=True)]
