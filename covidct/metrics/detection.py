"""``DetectionMetrics``: both average precisions of instance masks, right under several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from covidct.errors import UsageError
from covidct.metrics.gathering import CollectedCases
from covidct.metrics.mask_ap import REFERENCE_THRESHOLDS, binary_masks, check_detections, reference_mask_ap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Record = dict[str, Tensor]

__all__ = ("DetectionMetrics",)

_IMAGE: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
    "scan": (torch.int64, ()),
    "ap": (torch.float32, (len(REFERENCE_THRESHOLDS),)),
    "height_width": (torch.int64, (2,)),
    "numbers": (torch.int64, (2,)),  # of predictions and of objects
}
_REGION: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {  # the predictions of an image, then its objects
    "box": (torch.float32, (4,)),
    "label": (torch.int64, ()),
    "score": (torch.float32, ()),  # 0 for objects
    "run_bytes": (torch.int64, ()),
}
_RUNS: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {"runs": (torch.uint8, ())}

# pycocotools' Params. torchmetrics rounds its own to float32, so that a recall of 0.1 stays below "0.1".
_COCO_IOU = np.linspace(0.5, 0.95, 10).tolist()
_COCO_RECALL = np.linspace(0.0, 1.0, 101).tolist()


class DetectionMetrics(CollectedCases):
    """Scores instance masks by the reference's average precision and by COCO's, each image once over all processes.

    ``compute`` gives scalars of two kinds, which are no estimates of each other (see
    :func:`covidct.metrics.reference_mask_ap` for the differences):

    * ``reference_map``, ``reference_ap50``, ``reference_ap75``: as in the tables of COVID-CT-Mask-Net, means over
      images, and for the first over IoU thresholds .50 to .95; ``reference_map_lesions``: the first over images with
      objects alone, since a detector that finds nothing has 1 on every image without (NaN where there is none);
    * ``coco_map``, ``coco_map50``, ``coco_map75`` and ``coco_map_<class>``: torchmetrics' ``MeanAveragePrecision`` of
      masks over the whole set, 100 predictions per image and class, equal to COCO's own evaluation. A prediction in an
      image without objects counts as false. A class without objects has no score (NaN) and no part in the mean.

    What is kept is a short row per image, and of each region the run-length code of its mask, box, label and score.

    Args:
        class_names: names of the labels; the first is ``"background"``.
        mask_threshold: a pixel belongs to a predicted mask when its value is greater.

    Raises:
        UsageError: when the class names do not start with "background", are not different, or are fewer than two.
    """

    def __init__(self, class_names: Sequence[str], *, mask_threshold: float = 0.5) -> None:
        """Set up empty states."""
        names = tuple(class_names)
        if len(names) < 2 or names[0] != "background" or len(set(names)) < len(names):
            raise UsageError(
                f'The class names {class_names!r} do not serve: give "background" and at least one more, all different.'
            )
        super().__init__(_IMAGE | _REGION | _RUNS)
        self.class_names = names
        self.mask_threshold = mask_threshold

    def update(
        self,
        predictions: Sequence[Mapping[str, Tensor]],
        targets: Sequence[Mapping[str, Tensor]],
        *,
        scan: Tensor,
    ) -> None:
        """Add a batch.

        Args:
            predictions: of each image ``boxes`` (N, 4) float, ``labels`` (N,) int64, ``scores`` (N,) float and
                ``masks`` (N, 1, H, W) or (N, H, W) float in [0, 1] or bool, as torchvision's Mask R-CNN gives them.
            targets: of each image ``boxes`` (M, 4) float, ``labels`` (M,) int64 and ``masks`` (M, H, W) uint8 or bool.
            scan: (B,) int64 key of the image; equal keys are the same image.

        Raises:
            UsageError: when predictions and targets do not fit together, or a label has no name.
        """
        check_detections(predictions, targets)
        if scan.shape != (len(targets),):
            raise UsageError(f"DetectionMetrics got scan of shape {tuple(scan.shape)}, it needs ({len(targets)},).")
        for key, predicted, target in zip(scan, predictions, targets, strict=True):
            regions = [
                {**predicted, "masks": binary_masks(predicted["masks"], self.mask_threshold)},
                {**target, "masks": binary_masks(target["masks"], 0), "scores": torch.zeros(len(target["labels"]))},
            ]
            self._check_labels(regions)
            image = {
                "scan": key[None],
                "ap": reference_mask_ap(regions[:1], regions[1:]),
                "height_width": _size(regions),
                "numbers": torch.tensor([[len(region["labels"]) for region in regions]]),
            }
            rows = image | _coded(regions)
            self.append({name: value.to(self.device) for name, value in rows.items()})

    def compute(self) -> dict[str, Tensor]:
        """Scalar float32 tensors by name; NaN where a score is not defined."""
        rows = self.rows()
        ap = rows["ap"].astype(np.float64)
        middle = REFERENCE_THRESHOLDS.index(0.75)
        values = {
            "reference_map": _mean(ap),
            "reference_ap50": _mean(ap[:, 0]),
            "reference_ap75": _mean(ap[:, middle]),
            "reference_map_lesions": _mean(ap[rows["numbers"][:, 1] > 0]),
        }
        values |= _coco_scores(self.images(), self.class_names)
        return {name: torch.tensor(value, device=self.device) for name, value in values.items()}

    def rows(self) -> dict[str, NDArray[Any]]:
        """The columns with one row per image, each image once, sorted by ``scan``."""
        arrays = {name: self._joined(name).cpu().numpy() for name in _IMAGE}
        _, first = np.unique(arrays["scan"], return_index=True)
        return {name: array[first] for name, array in arrays.items()}

    def images(self) -> Iterator[tuple[Record, Record]]:
        """Predictions and targets, as they came but with binary masks, each image once, sorted by ``scan``."""
        image, region = ({name: self._joined(name).cpu() for name in names} for names in (_IMAGE, _REGION))
        runs = self._joined("runs").cpu().numpy()
        regions_end = image["numbers"].sum(1).cumsum(0).tolist()
        bytes_end = [0, *region["run_bytes"].cumsum(0).tolist()]
        _, first = np.unique(image["scan"].numpy(), return_index=True)
        for index in first.tolist():
            predicted, objects = image["numbers"][index].tolist()
            start = regions_end[index] - predicted - objects
            for_each = slice(start, start + predicted), slice(start + predicted, regions_end[index])
            size = image["height_width"][index].tolist()
            found, true = (
                {
                    "boxes": region["box"][part],
                    "labels": region["label"][part],
                    "scores": region["score"][part],
                    "masks": _decoded([runs[a:b].tobytes() for a, b in _pairs(bytes_end, part)], size),
                }
                for part in for_each
            )
            yield found, {name: true[name] for name in ("boxes", "labels", "masks")}

    def _check_labels(self, regions: Sequence[Mapping[str, Tensor]]) -> None:
        """Refuse labels that name no class or the background."""
        for region in regions:
            strange = (region["labels"] < 1) | (region["labels"] >= len(self.class_names))
            if strange.any():
                raise UsageError(
                    f"The label {int(region['labels'][strange][0])} names no class of regions: labels run from 1 to "
                    f"{len(self.class_names) - 1}, for {', '.join(self.class_names[1:])}."
                )


def _mean(values: NDArray[np.float64]) -> float:
    """Mean, NaN of nothing."""
    return float(values.mean()) if values.size else float("nan")


def _pairs(ends: Sequence[int], part: slice) -> list[tuple[int, int]]:
    """Start and end of each of the regions ``part``."""
    return [(ends[index], ends[index + 1]) for index in range(part.start, part.stop)]


def _size(regions: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Height and width (1, 2) of the masks; of an image without any, whatever its empty masks say."""
    masks = next((region["masks"] for region in regions if len(region["masks"])), regions[1]["masks"])
    return torch.tensor([masks.shape[1:]])


def _coded(regions: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The rows of the regions of one image, masks as run-length code."""
    codes = [code for region in regions for code in _runs(region["masks"])]
    return {
        "box": torch.cat([region["boxes"].cpu().float() for region in regions]),
        "label": torch.cat([region["labels"].cpu() for region in regions]),
        "score": torch.cat([region["scores"].cpu().float() for region in regions]),
        "run_bytes": torch.tensor([len(code) for code in codes], dtype=torch.int64),
        "runs": torch.frombuffer(bytearray(b"".join(codes)), dtype=torch.uint8) if codes else torch.empty(0),
    }


def _runs(masks: Tensor) -> list[bytes]:
    """COCO's run-length code of each of (N, H, W) bool."""
    if not len(masks):
        return []
    from pycocotools.mask import encode  # compiled

    columns = masks.transpose(1, 2).contiguous().to(torch.uint8).cpu().numpy()  # the code runs down columns
    return [code["counts"] for code in encode(columns.transpose(2, 1, 0))]


def _decoded(codes: Sequence[bytes], size: Sequence[int]) -> Tensor:
    """The (N, H, W) uint8 masks of run-length codes."""
    if not codes:
        return torch.zeros(0, *size, dtype=torch.uint8)
    from pycocotools.mask import decode

    masks: NDArray[np.uint8] = decode([{"size": list(size), "counts": code} for code in codes])
    return torch.from_numpy(masks.transpose(2, 0, 1))


def _coco_scores(images: Iterator[tuple[Record, Record]], class_names: Sequence[str]) -> dict[str, float]:
    """COCO's average precision of masks by name."""
    from torchmetrics.detection import MeanAveragePrecision  # finds out what is installed

    # Of masks alone, torchmetrics forgets images without objects, and with them the false predictions there; boxes
    # beside them keep all images. The images are gathered already, so it must not gather again.
    metric = MeanAveragePrecision(
        iou_type=("bbox", "segm"),
        iou_thresholds=_COCO_IOU,
        rec_thresholds=_COCO_RECALL,
        class_metrics=True,
        sync_on_compute=False,
    )
    metric.warn_on_many_detections = False
    objects = 0
    for predicted, target in images:
        metric.update([predicted], [target])
        objects += len(target["labels"])
    values = {name: float("nan") for name in ("coco_map", "coco_map50", "coco_map75")}
    values |= {f"coco_map_{name}": float("nan") for name in class_names[1:]}
    if not objects:
        return values
    result = metric.compute()
    values |= {f"coco_{name.replace('_', '')}": _known(result[f"segm_{name}"]) for name in ("map", "map_50", "map_75")}
    labels = result["classes"].reshape(-1).tolist()
    for label, value in zip(labels, result["segm_map_per_class"].reshape(-1), strict=True):
        values[f"coco_map_{class_names[label]}"] = _known(value)
    return values


def _known(value: Tensor) -> float:
    """A score, NaN where COCO says -1."""
    return float(value) if value >= 0 else float("nan")
