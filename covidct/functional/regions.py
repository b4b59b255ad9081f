"""``rank_regions``: the fixed number of ranked regions that COVID-CT-Mask-Net classifies a slice by."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torchvision.ops import batched_nms, clip_boxes_to_image

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ("RankedRegions", "rank_regions")


class RankedRegions(NamedTuple):
    """The N best regions of each image, by decreasing score; the last ones are repeats where fewer are found.

    Attributes:
        rows: (B, N, 5) float32: score, then the raw regression outputs (tx, ty, tw, th) of the region's class, neither
            decoded nor divided by their weights. 0 throughout for an image without any region.
        boxes: (B, N, 4) float32, xyxy pixels, clipped to the image; without gradient.
        labels: (B, N) int64 class of each region; 0 for an image without any.
        found: (B,) int64, regions that were left before they were filled up to N, at most N.
    """

    rows: Tensor
    boxes: Tensor
    labels: Tensor
    found: Tensor


def rank_regions(
    class_logits: Tensor,
    box_regression: Tensor,
    boxes: Tensor,
    *,
    regions_per_image: Sequence[int],
    image_size: tuple[int, int],
    num_regions: int = 256,
    nms_threshold: float = 0.75,
) -> RankedRegions:
    """Rank all (region, class) pairs of each image by score and keep the N best.

    A. Ter-Sarkisov, COVID-CT-Mask-Net: softmax over the classes, background dropped, every other class of a region is a
    candidate of its own, boxes without area are dropped, non-maximum suppression by class, the N best in decreasing
    order. Where k < N are left, place i holds candidate floor(i k / N), so that the order is kept; the reference code
    draws the repeats at random, in evaluation too, and crashes on k = 0, which gives rows of 0 here.

    Args:
        class_logits: (R, K) of all regions of all images, image by image; class 0 is the background.
        box_regression: (R, 4 K) raw outputs, class by class; gradients flow into ``rows``.
        boxes: (R, K, 4) the same decoded, xyxy pixels.
        regions_per_image: regions of each image; R in all.
        image_size: height and width in pixels, of every image.
        num_regions: N.
        nms_threshold: boxes of one class that overlap a better one by more are dropped.

    Returns:
        The N regions of each image, with gradients in ``rows`` alone.

    Raises:
        UsageError: for fewer than one region, or a threshold outside [0, 1].
    """
    if num_regions < 1 or not 0 <= nms_threshold <= 1:
        raise UsageError(f"num_regions={num_regions} must be at least 1 and nms_threshold={nms_threshold} in [0, 1].")
    classes = class_logits.shape[1]
    scores = class_logits.float().softmax(1)[:, 1:]
    regression = box_regression.float().reshape(-1, classes, 4)[:, 1:]
    rows = torch.cat([scores[..., None], regression], 2).reshape(-1, 5)
    placed = clip_boxes_to_image(boxes.detach().float()[:, 1:].reshape(-1, 4), image_size)
    labels = torch.arange(1, classes, device=placed.device).repeat(len(class_logits))
    with torch.no_grad():
        kept = [
            first + _survivors(placed[first:last], rows[first:last, 0], labels[first:last], nms_threshold)[:num_regions]
            for first, last in _spans(regions_per_image, classes - 1)
        ]
        places = torch.arange(num_regions, device=placed.device)
        index = torch.stack(
            [own[places * len(own) // num_regions] if len(own) else torch.zeros_like(places) for own in kept]
        )
    found = torch.tensor([len(own) for own in kept], device=placed.device)
    if not len(rows):  # no image has any region: nothing to index
        empty = rows.new_zeros(len(kept), num_regions, 5)
        return RankedRegions(empty, empty[..., 1:], index, found)
    some = (found > 0)[:, None]
    return RankedRegions(rows[index] * some[..., None], placed[index] * some[..., None], labels[index] * some, found)


def _survivors(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes of one image that suppression leaves, by decreasing score.

    Image by image, as torchvision does it: its trick for several sets at once shifts the boxes apart, which rounds the
    overlaps, so that an image would depend on its neighbours in the batch.
    """
    real = ((boxes[:, 2:] - boxes[:, :2]).prod(1) > 0).nonzero()[:, 0]
    return real[batched_nms(boxes[real], scores[real], labels[real], threshold)]


def _spans(regions_per_image: Sequence[int], candidates: int) -> list[tuple[int, int]]:
    """First and last candidate of each image."""
    spans, first = [], 0
    for count in regions_per_image:
        spans.append((first, first + count * candidates))
        first = spans[-1][1]
    return spans
