"""A classifier of single slices applied to every slice of a scan: slice probabilities, the scan's, ranked boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from covidct.explain import GradCAM, explained_classes
from covidct.inference.attention import native_slices
from covidct.inference.preview import choose_slices
from covidct.inference.slices import most_suspicious, scan_probabilities
from covidct.labels import LESION_CLASSES
from covidct.result import LesionBox, LesionPreview, Preview, ScanResult
from covidct.sample import collate
from covidct.tasks import ClassificationTask
from covidct.transforms import prepare_slices, to_sample
from covidct.volume import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from covidct.preprocessing import Preprocessing
    from covidct.sample import Batch
    from covidct.tasks import BaseTask
    from covidct.volume import Volume

__all__ = ("SlicePredictions", "classify_slices", "result_of_slices", "slices_to_classify")

_BATCH = 8  # slices; the published batch
_BOXES = 5  # ranked regions of a slice in its picture: of 256 the rest is background for an eye
_LEAST_SCORE = 0.05  # of a region that is told of; torchvision's and the reference's least score of a detection
_READABLE = 256  # pixels across a picture of a network that sees slices as they are
_SHOWN = 6  # slices with their regions


@dataclass(frozen=True, slots=True)
class SlicePredictions:
    """What a slice classifier says of a scan.

    Attributes:
        prob: (D, C) float32, NaN in slices that were not looked at.
        boxes: of each slice its regions, the best first, x0, y0, x1, y1 in [0, 1] of the slice's edges; empty where the
            network has none.
    """

    prob: NDArray[np.float32]
    boxes: dict[int, tuple[LesionBox, ...]]


def slices_to_classify(volume: Volume, lung_mask: NDArray[np.uint8] | None) -> tuple[NDArray[np.int64], Finding]:
    """The slices that show lung, and a sentence about the choice.

    Args:
        volume: the scan.
        lung_mask: (D, H, W) on its grid; None: all slices are taken.
    """
    count = volume.shape[0]
    if lung_mask is None:
        told = f"No lung mask could be made, so all {count} slices were classified, those beyond the lungs too."
        return np.arange(count), Finding("all_slices", told)
    shown = np.flatnonzero(lung_mask.any((1, 2)))
    return shown, Finding("lung_slices", f"{len(shown)} of {count} slices show lung and were classified.")


def classify_slices(
    task: BaseTask,
    volume: Volume,
    record: Preprocessing,
    *,
    indices: Sequence[int] | NDArray[np.int64],
    lung_mask: NDArray[np.uint8] | None = None,
) -> SlicePredictions:
    """Apply a slice classifier to slices of a scan, in batches.

    Args:
        task: in evaluation mode, on its device.
        volume: the scan.
        record: pre-processing of the task; its ``mask_source`` must not need to be computed batch by batch.
        indices: of the slices to look at.
        lung_mask: on the grid of the scan, where the record's ``mask_source`` is a file.
    """
    prob = np.full((volume.shape[0], len(task.class_names)), np.nan, np.float32)
    boxes: dict[int, tuple[LesionBox, ...]] = {}
    chunks = [[int(index) for index in indices[first : first + _BATCH]] for first in range(0, len(indices), _BATCH)]
    batches: Iterable[Batch] = (_batch(volume, record, chosen, lung_mask) for chosen in chunks)
    if record.contrast != "none":
        batches = _one_contrast(batches)
    for chosen, batch in zip(chunks, batches, strict=True):
        found = _predict(task, batch)
        prob[chosen] = found["prob"].float().cpu().numpy()
        if "region_boxes" in found:
            size = batch["image"].shape[2:]
            boxes |= {index: _ranked_regions(found, place, size) for place, index in enumerate(chosen)}
    return SlicePredictions(prob, boxes)


def _one_contrast(batches: Iterable[Batch]) -> list[Batch]:
    """The slices of a scan with the median of their contrasts, so that all of them go the same way at a gate."""
    found = list(batches)
    median = torch.from_numpy(np.median(np.concatenate([batch["contrast"] for batch in found]), keepdims=True))
    for batch in found:
        batch["contrast"] = median.expand(len(batch["contrast"]))
    return found


def _batch(volume: Volume, record: Preprocessing, indices: Sequence[int], lung_mask: NDArray[np.uint8] | None) -> Batch:
    """Some slices of a scan as a batch."""
    prepared = prepare_slices(volume, record, indices=indices, lung_mask=lung_mask)
    nobody = torch.tensor(0)
    return collate(
        [
            to_sample({key: value[place] for key, value in prepared.items()}, id=str(k), subject=nobody, scan=nobody)
            for place, k in enumerate(indices)
        ]
    )


@torch.inference_mode()
def _predict(task: BaseTask, batch: Batch) -> dict[str, Any]:
    """The task on a batch, on its device."""
    on_device = {
        key: value.to(task.device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()
    }
    found: dict[str, Any] = task.predict_step(on_device, 0)
    return found


def _ranked_regions(found: dict[str, Any], place: int, size: Sequence[int]) -> tuple[LesionBox, ...]:
    """The regions of a slice of a batch, the best first, boxes as shares of its edges."""
    count = int(found["region_count"][place])
    scores = found["regions"][place, :count, 0].tolist()
    labels = found["region_labels"][place, :count].tolist()
    edges = (found["region_boxes"][place, :count].cpu() / torch.tensor([size[1], size[0]] * 2)).tolist()
    rows = zip(edges, labels, scores, strict=True)
    return tuple(LesionBox((x0, y0, x1, y1), k, s) for (x0, y0, x1, y1), k, s in rows if s >= _LEAST_SCORE)


def result_of_slices(
    task: BaseTask,
    volume: Volume,
    record: Preprocessing,
    *,
    id: str,
    lung_mask: NDArray[np.uint8] | None = None,
    explain: bool = True,
) -> ScanResult:
    """Diagnose a scan by its slices: probabilities by :data:`covidct.inference.slices.SLICE_RULE`.

    Args:
        task: a slice classifier in evaluation mode, on its device.
        volume: the scan.
        record: pre-processing of the task.
        id: goes into the result.
        lung_mask: (D, H, W) on the grid of the scan; slices without lung are left out, and have no score.
        explain: put Grad-CAM of the scan's most probable class that is no negative one into the pictures, in the fixed
            scale of the task.

    Returns:
        The result, with the probability of the predicted class as score of each slice, slices of the scan as preview,
        and the ranked regions of the most suspicious slices, on which the probabilities rest, as rows and pictures.
    """
    indices, told = slices_to_classify(volume, lung_mask)
    found = classify_slices(task, volume, record, indices=indices, lung_mask=lung_mask)
    names = task.class_names
    prob = scan_probabilities(found.prob, names)
    label = int(prob.argmax())
    scores = tuple(found.prob[:, label].tolist())
    preview = _preview(volume, record, scores, lung_mask)
    if explain:
        preview = _with_cam(preview, task, volume, record, prob, lung_mask)
    return ScanResult(
        id=id,
        status="done",
        probabilities=dict(zip(names, prob.tolist(), strict=True)),
        predicted=names[label],
        slice_scores=scores,
        findings=(told,),
        preview=preview,
        regions=_region_rows(task, volume, found),
        region_preview=_region_preview(task, volume, record, found, names[label], scores),
    )


def _preview(
    volume: Volume, record: Preprocessing, scores: Sequence[float], lung_mask: NDArray[np.uint8] | None
) -> Preview:
    """Slices of the scan as for volume networks, whole and readable."""
    size = _readable(record)
    mask = np.zeros((volume.shape[0], 1, 1), np.uint8) if lung_mask is None else lung_mask
    chosen = choose_slices(mask, np.asarray(scores, np.float64))
    masked = replace(record, mask_source="none" if lung_mask is None else "file", masking="original")
    slices, shown = native_slices(volume, masked, chosen.tolist(), size=size, lung_mask=lung_mask)
    lungs = np.zeros(slices.shape, np.uint8) if shown is None else shown
    return Preview(slices=slices, lung_mask=lungs, weights=None, indices=tuple(chosen.tolist()))


def _with_cam(
    preview: Preview,
    task: BaseTask,
    volume: Volume,
    record: Preprocessing,
    prob: NDArray[np.float64],
    lung_mask: NDArray[np.uint8] | None,
) -> Preview:
    """The preview with Grad-CAM of its slices; without a map where the network has no layer, or no scale for it."""
    if not isinstance(task, ClassificationTask) or not hasattr(task.model, "cam_layer"):
        return preview
    target = int(explained_classes(torch.from_numpy(prob)[None], task.class_names))
    name, scale = task.class_names[target], float(task.cam_scale[target])
    if scale == 0:
        return replace(preview, cam_class=name)
    maps = GradCAM(task)(_batch(volume, record, preview.indices, lung_mask), target).maps
    return replace(preview, cam=(maps / scale).cpu().numpy(), cam_class=name)


def _region_rows(task: BaseTask, volume: Volume, found: SlicePredictions) -> tuple[dict[str, Any], ...]:
    """The regions of the slices that the diagnosis rests on, boxes in pixels of the scan."""
    height, width = volume.shape[1:]
    names = _region_names(task)
    return tuple(
        {
            "slice": index,
            "rank": rank,
            "type": names[region.label],
            "score": region.score,
            "box": tuple(edge * side for edge, side in zip(region.box, (width, height) * 2, strict=True)),
        }
        for index in sorted(most_suspicious(found.prob, task.class_names).tolist())
        for rank, region in enumerate(found.boxes.get(index, ()), start=1)
    )


def _region_names(task: BaseTask) -> tuple[str, ...]:
    """What the detector inside a classifier calls its classes, index = label."""
    names: tuple[str, ...] = getattr(task.model, "class_names", LESION_CLASSES["both"])
    return names


def _region_preview(
    task: BaseTask,
    volume: Volume,
    record: Preprocessing,
    found: SlicePredictions,
    predicted: str,
    scores: Sequence[float],
) -> LesionPreview | None:
    """The best regions of the most suspicious slices; None where the network ranks none, or finds none."""
    if not any(found.boxes.values()):
        return None
    indices = sorted(most_suspicious(found.prob, task.class_names)[:_SHOWN].tolist())
    size = _readable(record)
    slices, _ = native_slices(volume, replace(record, mask_source="none", masking="original"), indices, size=size)
    boxes = tuple(
        tuple(LesionBox(_times(box.box, size), box.label, box.score) for box in found.boxes[index][:_BOXES])
        for index in indices
    )
    words = tuple(f"slice {index}, {predicted} {scores[index]:.2f}: its best regions" for index in indices)
    return LesionPreview(slices, np.zeros(slices.shape, np.uint8), boxes, tuple(indices), _region_names(task), words)


def _times(edges: Sequence[float], size: int) -> tuple[float, float, float, float]:
    """Edges in pixels of a square picture."""
    x0, y0, x1, y1 = (size * edge for edge in edges)
    return x0, y0, x1, y1


def _readable(record: Preprocessing) -> int:
    """Pixels across a picture: the network's, a multiple of it, or 256 where it sees slices as they are."""
    if record.size is None:
        return _READABLE
    return record.size if record.size >= _READABLE // 2 else -(-_READABLE // record.size) * record.size
