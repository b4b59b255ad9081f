"""``results_of_batch``: a classifier on a batch of a loader, as results with pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from covidct.inference.attention import positive_slices, reason_without_attention
from covidct.inference.explained import predict, scaled_cam, slice_heat, with_cam
from covidct.inference.network_maps import NetworkMaps
from covidct.inference.preview import make_preview
from covidct.result import ScanResult
from covidct.volume import unknown_affine

if TYPE_CHECKING:
    from covidct.inference.explained import Explained
    from covidct.sample import Batch
    from covidct.tasks import BaseTask

__all__ = ("results_of_batch", "results_with_maps")

_IDENTITY = ("subject", "scan", "label")


def results_of_batch(task: BaseTask, batch: Batch, *, explain: bool = True) -> list[ScanResult]:
    """Apply a task to a batch of CT volumes or CT slices.

    Args:
        task: a classifier in evaluation mode; the batch is moved to its device.
        batch: as :func:`covidct.sample.collate` makes it, with ``lung_mask`` where the task has pooling weights.
        explain: put Grad-CAM into the pictures, in the fixed scale of the task.

    Returns:
        One result per scan, of slices one per slice, with probabilities, slice scores or attention, and pictures;
        ``label`` where the batch has one.
    """
    return [result for result, _ in results_with_maps(task, batch, explain=explain)]


def results_with_maps(task: BaseTask, batch: Batch, *, explain: bool = True) -> list[tuple[ScanResult, NetworkMaps]]:
    """The same, each with the maps of all slices that the network saw.

    Args:
        task: as in :func:`results_of_batch`.
        batch: as in :func:`results_of_batch`; what has no ``affine`` gets maps of unknown geometry.
        explain: as in :func:`results_of_batch`.
    """
    on_device = {
        key: value.to(task.device) if isinstance(value, torch.Tensor) and key in (*task.inputs, *_IDENTITY) else value
        for key, value in batch.items()
    }
    found, explained = predict(task, on_device, explain=explain)
    with torch.inference_mode():
        weights = _pooling_weights(task, on_device)
    names, without = task.class_names, reason_without_attention(task)
    source = task.preprocessing.mask_source if task.preprocessing else ""
    results = []
    for index, name in enumerate(batch["id"]):
        probabilities = dict(zip(names, found["prob"][index].tolist(), strict=True))
        predicted = names[int(found["pred"][index])]
        scores = _slice_scores(found, index, names.index(predicted))
        attention = tuple(found["attention"][index].tolist()) if "attention" in found else ()
        positive = positive_slices(attention, diagnosed=predicted == names[-1]) if attention else ()
        label = int(batch["label"][index]) if "label" in batch else -1
        shown = slice_heat(explained, index) or scores or attention
        preview = make_preview(batch, index, scores=shown, weights=weights)
        result = ScanResult(
            id=name,
            status="done",
            probabilities=probabilities,
            predicted=predicted,
            slice_scores=scores,
            attention=attention,
            positive_slices=positive,
            slice_note=without,
            label=names[label] if label >= 0 else "",
            mask_source=source,
            preview=with_cam(preview, explained, index),
        )
        results.append((result, _maps(batch, index, explained, weights)))
    return results


def _maps(batch: Batch, index: int, explained: Explained | None, weights: torch.Tensor | None) -> NetworkMaps:
    """The maps of one scan of a batch."""
    shape = tuple(batch["image"].shape[2:])
    return NetworkMaps(
        affine=batch["affine"][index].cpu().numpy() if "affine" in batch else unknown_affine(),
        shape=(shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, shape[0], shape[1]),
        cam=scaled_cam(explained, index),
        cam_class="" if explained is None else explained.classes[index],
        weights=None if weights is None else weights[index].cpu().numpy(),
    )


def _slice_scores(found: dict[str, Any], index: int, label: int) -> tuple[float, ...]:
    """Scores of the predicted class, slice by slice; empty when the network has none."""
    scores = found.get("slice_scores")
    return () if scores is None else tuple(scores[index, :, label].tolist())


def _pooling_weights(task: BaseTask, batch: Batch) -> torch.Tensor | None:
    """Pooling weights of the network; None when it has none."""
    make = getattr(task.model, "pooling_weights", None)
    return None if make is None or "lung_mask" not in batch else make(batch["lung_mask"])
