"""A task's prediction and its Grad-CAM from one pass of the network, for the pictures of a scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from covidct.explain import GradCAM, explained_classes
from covidct.tasks import ClassificationTask

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.result import Preview
    from covidct.sample import Batch
    from covidct.tasks import BaseTask

__all__ = ("Explained", "predict", "scaled_cam", "slice_heat", "with_cam")


@dataclass(frozen=True, slots=True)
class Explained:
    """Grad-CAM of a batch.

    Attributes:
        classes: name of the class explained, per scan.
        maps: (B, D, h, w) float32, unscaled; None where nothing could be drawn.
        scale: (B,) float32, the fixed scale of these classes, 0 where unknown.
    """

    classes: tuple[str, ...]
    maps: Tensor | None
    scale: Tensor


def predict(task: BaseTask, batch: Batch, *, explain: bool) -> tuple[dict[str, Any], Explained | None]:
    """Predict a batch and explain, for each scan, the most probable class that is no negative one.

    Args:
        task: in evaluation mode.
        batch: CT volumes on its device.
        explain: whether to.

    Returns:
        What ``predict_step`` gives, and the explanation: None where it is not asked for, or the network has no layer
        to explain. No map is made where the task has no scale, since nothing honest could be drawn of it.
    """
    if not explain or not isinstance(task, ClassificationTask) or not hasattr(task.model, "cam_layer"):
        return _plain(task, batch), None
    if not bool(task.cam_scale.any()):
        found = _plain(task, batch)
        return found, _explained(task, found["logits"], None)
    with GradCAM(task).watch(batch) as watch:
        found = task.predict_step(batch, 0)
        target = explained_classes(found["logits"].detach(), task.class_names)
        maps = watch.maps(found["logits"].gather(1, target[:, None])[:, 0])
    maps = maps[:, None] if maps.ndim == 3 else maps  # a single slice is a scan of one
    found = {key: value.detach() if isinstance(value, torch.Tensor) else value for key, value in found.items()}
    return found, _explained(task, found["logits"], maps)


def _plain(task: BaseTask, batch: Batch) -> dict[str, Any]:
    """The prediction alone."""
    with torch.inference_mode():
        found: dict[str, Any] = task.predict_step(batch, 0)
        return found


def slice_heat(explained: Explained | None, index: int) -> tuple[float, ...]:
    """The largest value in each slice of a scan: where a network takes the maximum over slices, few have any.

    Args:
        explained: of the batch, or None.
        index: of the scan in the batch.

    Returns:
        One value per slice; empty where no map can be drawn, or it is cold throughout.
    """
    if explained is None or explained.maps is None or float(explained.scale[index]) == 0:
        return ()
    peaks = explained.maps[index].flatten(1).amax(1)
    return tuple(peaks.tolist()) if bool(peaks.any()) else ()


def with_cam(preview: Preview | None, explained: Explained | None, index: int) -> Preview | None:
    """The preview of a scan with its explanation.

    Args:
        preview: slices of the scan, or None.
        explained: of the batch, or None.
        index: of the scan in the batch.

    Returns:
        The preview with ``cam`` in units of the fixed scale, and ``cam_class``; ``cam`` is None without a scale.
    """
    if preview is None or explained is None:
        return preview
    cam = scaled_cam(explained, index)
    return replace(preview, cam=None if cam is None else cam[list(preview.indices)], cam_class=explained.classes[index])


def scaled_cam(explained: Explained | None, index: int) -> NDArray[np.float32] | None:
    """Grad-CAM (D, h, w) of a scan of a batch in units of its fixed scale; None without a map or a scale."""
    scale = 0.0 if explained is None else float(explained.scale[index])
    if explained is None or explained.maps is None or scale == 0:
        return None
    return np.asarray((explained.maps[index] / scale).cpu().numpy(), np.float32)


def _explained(task: ClassificationTask, logits: Tensor, maps: Tensor | None) -> Explained:
    """Classes and scales beside the maps."""
    target = explained_classes(logits, task.class_names)
    return Explained(tuple(task.class_names[label] for label in target.tolist()), maps, task.cam_scale[target])
