"""``results_of_batch``: a classifier on a batch of a loader, as results with pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from covidct.inference.attention import positive_slices, reason_without_attention
from covidct.inference.explained import predict, slice_heat, with_cam
from covidct.inference.preview import make_preview
from covidct.result import ScanResult

if TYPE_CHECKING:
    from covidct.sample import Batch
    from covidct.tasks import BaseTask

__all__ = ("results_of_batch",)

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
        results.append(
            ScanResult(
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
        )
    return results


def _slice_scores(found: dict[str, Any], index: int, label: int) -> tuple[float, ...]:
    """Scores of the predicted class, slice by slice; empty when the network has none."""
    scores = found.get("slice_scores")
    return () if scores is None else tuple(scores[index, :, label].tolist())


def _pooling_weights(task: BaseTask, batch: Batch) -> torch.Tensor | None:
    """Pooling weights of the network; None when it has none."""
    make = getattr(task.model, "pooling_weights", None)
    return None if make is None or "lung_mask" not in batch else make(batch["lung_mask"])
