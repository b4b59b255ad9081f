"""Average precision of instance masks image by image, as COVID-CT-Mask-Net's authors report it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

__all__ = ("REFERENCE_THRESHOLDS", "binary_masks", "check_detections", "mask_iou", "reference_mask_ap")

REFERENCE_THRESHOLDS = (0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
"""IoU thresholds of the published mAP: evaluation_mean_ap.py in AlexTS1980/COVID-CT-Mask-Net."""

_PREDICTED, _TRUE = ("boxes", "labels", "scores", "masks"), ("boxes", "labels", "masks")


def reference_mask_ap(
    predictions: Sequence[Mapping[str, Tensor]],
    targets: Sequence[Mapping[str, Tensor]],
    *,
    thresholds: Sequence[float] = REFERENCE_THRESHOLDS,
    mask_threshold: float = 0.5,
) -> Tensor:
    """Average precision of each image at each IoU threshold; the mean of all of it is the published mAP.

    Within an image the predictions of all classes stand in one list by decreasing score (equal scores in the order
    given). Each object marks, among the predictions of its class, the one whose mask has the greatest IoU with its own
    (of equals the best scored), if that IoU is greater than the threshold. Marked predictions are hits, the others
    false; the average precision is the area under the envelope of precision (at each rank the greatest precision from
    there on) over recall, where recall counts hits per object. An image with neither prediction nor object has 1, one
    with only one of the two has 0. A column's mean over images is the published AP at that threshold.

    This is not COCO's average precision, and the two must not be compared:

    * it is a mean over images; COCO ranks the predictions of all images together, class by class, and takes the mean
      over classes;
    * images without objects count, as 1 or 0; to COCO they are a source of false predictions only;
    * objects choose their predictions by IoU, where COCO's predictions choose objects in order of score; one
      prediction may serve two objects here, and counts as one hit of the two that recall asks for;
    * an IoU equal to the threshold is no match here, it is one to COCO;
    * the area is exact; COCO's is a mean over 101 values of recall;
    * all predictions count, where COCO takes the 100 best scored of an image and class.

    Args:
        predictions: of each image ``boxes`` (N, 4) float, ``labels`` (N,) int64, ``scores`` (N,) float and ``masks``
            (N, 1, H, W) or (N, H, W) float in [0, 1] or bool, as torchvision's Mask R-CNN gives them.
        targets: of each image ``boxes`` (M, 4) float, ``labels`` (M,) int64 and ``masks`` (M, H, W) uint8 or bool,
            not 0 inside the object.
        thresholds: T values of the IoU, in [0, 1).
        mask_threshold: a pixel belongs to a predicted mask when its value is greater.

    Returns:
        (images, T) float32 in [0, 1], on the device of the first image's masks.

    Raises:
        UsageError: when predictions and targets do not fit together.
    """
    check_detections(predictions, targets)
    rows = [
        _image_ap(predicted, target, torch.tensor(thresholds, dtype=torch.float64), mask_threshold)
        for predicted, target in zip(predictions, targets, strict=True)
    ]
    device = predictions[0]["masks"].device if rows else None
    return torch.stack(rows).to(device) if rows else torch.empty(0, len(thresholds))


def _image_ap(
    predicted: Mapping[str, Tensor], target: Mapping[str, Tensor], thresholds: Tensor, mask_threshold: float
) -> Tensor:
    """Average precision (T,) float32 of one image, on the CPU: only the overlaps are worth the device."""
    number, objects = len(predicted["labels"]), len(target["labels"])
    if not number or not objects:
        return torch.full((len(thresholds),), float(number == objects))
    iou = mask_iou(binary_masks(predicted["masks"], mask_threshold), binary_masks(target["masks"], 0)).cpu()
    order = predicted["scores"].cpu().argsort(descending=True, stable=True)
    same = predicted["labels"].cpu()[:, None] == target["labels"].cpu()
    greatest, chosen = torch.where(same, iou, -1.0)[order].max(0)  # of equals, max gives the first
    marked = torch.zeros(len(thresholds), number)
    at, which = (greatest > thresholds[:, None]).nonzero(as_tuple=True)
    marked[at, chosen[which]] = 1.0
    precision = marked.cumsum(1) / torch.arange(1, number + 1)
    envelope = precision.flip(1).cummax(1).values.flip(1)
    return (marked * envelope).sum(1) / objects


def mask_iou(masks: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of each mask with each of the others; 0 for two empty ones.

    Args:
        masks: (N, H, W) bool.
        others: (M, H, W) bool; the work grows with the pixels that these cover.

    Returns:
        (N, M) float64 in [0, 1]: exact quotients, so that an IoU that equals a threshold is seen to.
    """
    covered = others.any(0)  # elsewhere nothing is shared
    with torch.autocast(masks.device.type, enabled=False):  # bfloat16 cannot count
        shared = (masks[:, covered].float() @ others[:, covered].float().T).cpu().double()
    sizes, other_sizes = (stack.sum((1, 2), dtype=torch.int32).cpu() for stack in (masks, others))  # int64 is slow
    union = sizes[:, None] + other_sizes - shared
    return shared / union.clamp(min=1)


def binary_masks(masks: Tensor, threshold: float) -> Tensor:
    """The pixels greater than ``threshold``, (N, H, W) bool, of masks (N, 1, H, W) or (N, H, W)."""
    flat = masks.squeeze(1) if masks.ndim == 4 else masks
    return flat if flat.dtype == torch.bool else flat > threshold


def check_detections(predictions: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]) -> None:
    """Refuse predictions and targets that do not fit together.

    Args:
        predictions: see :func:`reference_mask_ap`.
        targets: see :func:`reference_mask_ap`.

    Raises:
        UsageError: when there are more of one than of the other, something is missing, or shapes do not agree.
    """
    if len(predictions) != len(targets):
        raise UsageError(
            f"There are predictions of {len(predictions)} images and targets of {len(targets)}: pair them."
        )
    for index, (predicted, target) in enumerate(zip(predictions, targets, strict=True)):
        _check(predicted, _PREDICTED, f"The predictions of image {index}")
        _check(target, _TRUE, f"The targets of image {index}")
        sizes = predicted["masks"].shape[-2:], target["masks"].shape[-2:]
        if len(predicted["masks"]) and len(target["masks"]) and sizes[0] != sizes[1]:
            raise UsageError(
                f"The predicted masks of image {index} are of {tuple(sizes[0])} pixels, its true ones of "
                f"{tuple(sizes[1])}: bring both to the size of the image."
            )


def _check(record: Mapping[str, Tensor], names: Sequence[str], what: str) -> None:
    """Refuse a record that lacks an entry or has entries that do not agree."""
    missing = [name for name in names if name not in record]
    if missing:
        raise UsageError(f"{what} lack {', '.join(missing)}: they need {', '.join(names)}.")
    shapes = {name: tuple(record[name].shape) for name in names}
    number, mask = len(record["labels"]), shapes["masks"]
    flat = len(mask) == 3 or (len(mask) == 4 and mask[1] == 1)
    vectors = all(shapes[name] == (number,) for name in names if name in {"labels", "scores"})
    if not (flat and mask[0] == number and vectors and shapes["boxes"] == (number, 4)):
        raise UsageError(
            f"{what} have the shapes {shapes}; for N regions they must be boxes (N, 4), masks (N, H, W) or "
            "(N, 1, H, W), and (N,) for the others."
        )
