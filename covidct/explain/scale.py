"""The fixed scale of Grad-CAM: one maximum per class, found on training positives and kept in the checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from covidct.errors import UsageError
from covidct.explain.gradcam import GradCAM
from covidct.labels import NEGATIVE_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor

    from covidct.explain.gradcam import ClassMaps
    from covidct.tasks import ClassificationTask

__all__ = ("calibrate", "explained_classes", "maximum_on_positives")


def calibrate(task: ClassificationTask, batches: Iterable[Mapping[str, Any]]) -> Tensor:
    """Find the scale of a task's Grad-CAM and keep it in the task, and so in its next checkpoint.

    The scale of a class is the largest value of its map over the scans of that class, all slices included. A map
    divided by it is comparable between scans, and a scan without the disease can be cold throughout. Scaling by the
    maximum of each picture or scan instead, as is often done, makes every scan hot somewhere.

    A checkpoint without a scale gets one by::

        task = load_task("old.ckpt")
        calibrate(task, batches)
        trainer.strategy.connect(task)  # a pytorch_lightning.Trainer
        trainer.save_checkpoint("new.ckpt")

    Args:
        task: a classifier; its buffer ``cam_scale`` is overwritten.
        batches: scans of the training part with ``label``, not augmented; a few of each class will do.

    Returns:
        (C,) float32, 0 (unknown) for classes without a positive value.

    Raises:
        UsageError: when the task's network names no layer.
    """
    found = maximum_on_positives(GradCAM(task), batches, classes=len(task.cam_scale))
    task.cam_scale.copy_(found)
    return found


def maximum_on_positives(
    explain: Callable[..., ClassMaps], batches: Iterable[Mapping[str, Any]], *, classes: int
) -> Tensor:
    """Largest value of each class's maps over the scans of that class.

    Args:
        explain: such as :class:`covidct.explain.GradCAM` or :class:`covidct.explain.ElementMap` of a task.
        batches: with ``label``, -1 for scans that are passed over.
        classes: C.

    Returns:
        (C,) float32 on the CPU, 0 for classes without a positive finite value.
    """
    highest = torch.zeros(classes)
    for batch in batches:
        label: Tensor = batch["label"].cpu()
        if bool((label < 0).all()):
            continue
        peaks = explain(batch, label.clamp(min=0)).maps.flatten(1).amax(1).cpu()
        known = (label >= 0) & peaks.isfinite()  # a training that diverges must not end on account of a picture
        highest.scatter_reduce_(0, label[known], peaks[known], "amax")
    return highest


def explained_classes(scores: Tensor, names: Sequence[str]) -> Tensor:
    """Which class a picture of a scan should explain.

    The most probable class that is no negative one (``normal``, ``non_covid``): the predicted class wherever a disease
    is predicted. The absence of a disease has no place, and its map is the one that a healthy scan must leave cold.

    Args:
        scores: (B, C) logits or probabilities.
        names: of the classes, index = label.

    Returns:
        (B,) int64.

    Raises:
        UsageError: when there are not C names.
    """
    if scores.ndim != 2 or scores.shape[1] != len(names):
        raise UsageError(f"The scores {tuple(scores.shape)} do not belong to the classes {', '.join(names)}.")
    negative = torch.tensor([name in NEGATIVE_CLASSES for name in names], device=scores.device)
    if bool(negative.all()):
        return scores.argmax(1)
    return scores.masked_fill(negative, -torch.inf).argmax(1)
