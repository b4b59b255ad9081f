"""Pictures of one case: slices with Grad-CAM, slice attention, lesions or the outlines of lungs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from covidct.explain import SAFE_LESION_COLOURS, GradCAM, explained_classes, fade, lesion_overlay, overlay
from covidct.labels import NEGATIVE_CLASSES
from covidct.layers import evaluation
from covidct.result import LesionBox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.sample import Batch
    from covidct.tasks import BaseTask, ClassificationTask, DetectionTask

__all__ = ("attention_picture", "grad_cam_picture", "lesion_picture", "lung_picture")

_BOXES = 10  # of a slice: more hide it
_READABLE = 256  # pixels of the shorter side from which an outline of one pixel shows where it runs
_LUNG_COLOURS = SAFE_LESION_COLOURS  # of the right and the left lung


def grad_cam_picture(task: ClassificationTask, case: Batch, *, slices: int) -> NDArray[np.uint8] | None:
    """Slices above, the same with Grad-CAM below, in the fixed scale of the task.

    A diseased case shows the map of its own class, others that of the most probable disease.

    Args:
        task: with a scale.
        case: a batch of one.
        slices: of a volume, evenly spaced through the lungs.

    Returns:
        (2 H, n W, 3) red, green, blue; None where the class to explain has no scale.
    """
    names, label, explain = task.class_names, int(case["label"]), GradCAM(task)
    found = explain(case, label)
    if names[label] in NEGATIVE_CLASSES:
        found = explain(case, explained_classes(found.logits, names))
    scale = float(task.cam_scale[found.target])
    if scale == 0:
        return None
    maps, image = found.maps[0].cpu().numpy(), _image(case)
    planes = _planes(case, slices)
    hot = [overlay(image[plane], maps[plane], scale) for plane in planes]
    return np.concatenate([_grey(image, planes), np.concatenate(hot, 1)])


def attention_picture(task: BaseTask, case: Batch, *, slices: int) -> NDArray[np.uint8]:
    """Slices above, below them what slice attention leaves of each, and a strip of the shares of all slices.

    The strip runs from feet to head; white is the largest share of the scan.

    Args:
        task: whose ``predict_step`` gives ``attention``.
        case: a batch of one volume.
        slices: evenly spaced through the lungs.

    Returns:
        (2 H + H // 8, n W, 3) red, green, blue.
    """
    shares = _predict(task, case)["attention"][0].float().cpu().numpy()
    image, planes = _image(case), _planes(case, slices)
    faded = fade(image, shares)
    rows = np.concatenate([_grey(image, planes), _grey(faded, planes)])
    real = shares[np.isfinite(shares)]
    height, width = max(1, image.shape[1] // 8), rows.shape[1]
    line = np.rint(255 * real / real.max()).astype(np.uint8)[None]
    strip = np.asarray(cv2.resize(line, (width, height), interpolation=cv2.INTER_NEAREST))
    return np.concatenate([rows, np.repeat(strip[..., None], 3, -1)])


def lesion_picture(task: DetectionTask, case: Batch) -> NDArray[np.uint8]:
    """A slice with its true lesions on the left and those found, the ten best with box and score, on the right.

    Args:
        task: a lesion detector.
        case: a batch of one slice, with ``instances``.

    Returns:
        (s H, 2 s W, 3) red, green, blue; s enlarges small slices.
    """
    found = _predict(task, case)
    image, names = _image(case), task.class_names
    right = lesion_overlay(image, found["mask"][0, 0].cpu().numpy(), boxes=_boxes(found["detections"][0]), names=names)
    left = lesion_overlay(image, _true_labels(case["instances"][0], image.shape), names=names)
    return np.concatenate([left, right], 1)


def lung_picture(task: BaseTask, case: Batch, *, slices: int) -> NDArray[np.uint8]:
    """Slices with the outlines of the true lungs above, with those of the lungs found below.

    The right lung is orange, the left one blue; a network without sides has one colour.

    Args:
        task: a network that segments lungs.
        case: a batch of one, with ``lung_mask``.
        slices: of a volume, evenly spaced through the true lungs.

    Returns:
        (2 s H, n s W, 3) red, green, blue; s enlarges small slices.
    """
    found = _predict(task, case)["mask"][0, 0].cpu().numpy()
    image, true, planes = _image(case), case["lung_mask"][0, 0].cpu().numpy(), _planes(case, slices)
    rows = [[_outlined(image[plane], mask[plane]) for plane in planes] for mask in (true, found)]
    return np.concatenate([np.concatenate(row, 1) for row in rows])


def _predict(task: BaseTask, case: Batch) -> dict[str, Any]:
    """What the task predicts of a case, on its device."""
    moved = {key: value.to(task.device) if isinstance(value, torch.Tensor) else value for key, value in case.items()}
    with torch.inference_mode(), evaluation(task.model):
        found: dict[str, Any] = task.predict_step(moved, 0)
    return found


def _image(case: Batch) -> NDArray[np.float32]:
    """(H, W), or (D, H, W) of a volume: the first channel."""
    image: NDArray[np.float32] = case["image"][0, 0].float().cpu().numpy()
    return image


def _grey(image: NDArray[np.float32], planes: list[tuple[int, ...]]) -> NDArray[np.uint8]:
    """Slices beside each other."""
    shown = [np.repeat(image[plane][..., None], 3, -1) for plane in planes]
    return np.asarray(np.rint(255 * np.clip(np.concatenate(shown, 1), 0, 1)), np.uint8)


def _planes(case: Batch, slices: int) -> list[tuple[int, ...]]:
    """Indices of slices, evenly spaced through the lungs, without a mask through the real slices; () of an image."""
    if case["image"].ndim == 4:
        return [()]
    depth = case["image"].shape[2]
    real = case["slice_mask"][0].cpu().numpy() if "slice_mask" in case else np.ones(depth, bool)
    if "lung_mask" in case and bool(case["lung_mask"].any()):
        real = real & (case["lung_mask"][0, 0] > 0).flatten(1).any(1).cpu().numpy()
    found = np.flatnonzero(real)
    count = min(slices, len(found))
    return [(int(found[(2 * number + 1) * len(found) // (2 * count)]),) for number in range(count)]


def _boxes(found: Mapping[str, Tensor]) -> list[LesionBox]:
    """The best detections."""
    best = found["scores"].argsort(descending=True)[:_BOXES]
    boxes, labels, scores = (found[name][best].tolist() for name in ("boxes", "labels", "scores"))
    return [
        LesionBox((x0, y0, x1, y1), label, score)
        for (x0, y0, x1, y1), label, score in zip(boxes, labels, scores, strict=True)
    ]


def _true_labels(instances: Mapping[str, Tensor], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """The class of each pixel."""
    labels = np.zeros(size, np.uint8)
    for mask, label in zip(instances["masks"].cpu().numpy(), instances["labels"].tolist(), strict=True):
        labels[mask > 0] = label
    return labels


def _outlined(image: NDArray[np.float32], mask: NDArray[Any]) -> NDArray[np.uint8]:
    """A slice, small ones enlarged, with the outlines of its lungs."""
    times = max(1, -(-_READABLE // min(image.shape)))
    size = (times * image.shape[1], times * image.shape[0])
    grey = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    canvas = np.ascontiguousarray(np.repeat(np.asarray(cv2.resize(grey, size), np.uint8)[..., None], 3, -1))
    for label, colour in enumerate(_LUNG_COLOURS, 1):
        fine = cv2.resize((mask == label).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(fine, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, colour, 1)
    return canvas
