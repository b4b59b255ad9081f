"""``DetectionTask``: losses, both kinds of average precision and lesion masks of every lesion detector."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.errors import BatchError, UsageError
from covidct.functional import label_pixels
from covidct.labels import LESION_CLASSES
from covidct.metrics import DetectionMetrics
from covidct.models.lesion_detector import check_thresholds
from covidct.sample import stable_hash
from covidct.tasks.base import BaseTask, batch_weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from covidct.labels import MaskType
    from covidct.models import LesionMaskRCNN
    from covidct.preprocessing import Preprocessing
    from covidct.sample import Batch

__all__ = ("DetectionTask",)

_SEED = 0  # of the anchors and regions that the validation losses are taken over
_LARGEST_SEED = 2**63


class DetectionTask(BaseTask):
    """Lesions of CT slices as boxes, classes and masks, whatever the diagnoses of the data set are.

    Logs ``<stage>_loss``, the sum of the network's losses, each of them as ``<stage>_<loss>``, and in validation and
    test the scores of :class:`covidct.metrics.DetectionMetrics`: ``val_reference_map`` (as in the reference code of
    COVID-CT-Mask-Net, slice by slice) and ``val_coco_map`` (COCO's, over the data set) with what belongs to them. In
    validation and test batch normalisation keeps its statistics, the reference's moves them, and anchors and regions
    are drawn from fixed random numbers, so that the loss of the same weights is the same. In training they are
    drawn by seed and step, so that a resumed run goes on as the whole one.

    Targets are the batch key ``instances``, which data sets with a ``mask_type`` give; slices without lesions are
    negatives.

    Args:
        mask_type: what the classes are, see :data:`covidct.labels.LESION_CLASSES`.
        mask_threshold: of the soft masks, in scores and predictions.
        optimizer: as in :class:`BaseTask`.
        lr_scheduler: as in :class:`BaseTask`.

    Raises:
        UsageError: for a value out of range.
    """

    target: ClassVar[str] = "instances"
    monitor: ClassVar[tuple[str, Literal["min", "max"]] | None] = ("val_coco_map", "max")
    model: LesionMaskRCNN

    def __init__(
        self,
        *,
        mask_type: MaskType,
        mask_threshold: float = 0.5,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        check_thresholds(mask=mask_threshold)
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        self.mask_threshold = mask_threshold

    @property
    def mask_type(self) -> MaskType:
        """What the classes are."""
        found: MaskType = self.hparams["mask_type"]
        return found

    @property
    def class_names(self) -> tuple[str, ...]:
        """Background and the lesion types, index = label."""
        return LESION_CLASSES[self.mask_type]

    def own_preprocessing(self, asked: Preprocessing) -> Preprocessing:
        """With the task's classes; where no mask touches the image, the source of lung masks does not bind."""
        free = self.preprocessing is not None and asked.masking == "original"
        source = self.preprocessing.mask_source if free and self.preprocessing else asked.mask_source
        return replace(asked, classes=self.class_names, mask_source=source)

    def setup(self, stage: str) -> None:
        """Agree with the data module on the pre-processing and the lesion types.

        Raises:
            UsageError: when they differ, or the data module gives no lesions to learn.
        """
        data = getattr(self.trainer, "datamodule", None)
        given = getattr(data, "mask_type", self.mask_type)
        if given != self.mask_type and stage != "predict":
            found = "no lesions as objects" if given is None else f"mask_type={given!r}"
            raise UsageError(
                f"The task has mask_type={self.mask_type!r}, the data set gives {found}: set the same in both."
            )
        super().setup(stage)

    def check_target(self, batch: Batch) -> None:
        """Refuse objects that no detector can learn; done for every batch, since one box without area ruins a run.

        Args:
            batch: with ``instances``.

        Raises:
            BatchError: names the slice and the object.
        """
        if self.target not in batch:
            raise BatchError(f"The batch has no {self.target!r}: use a data set of lesions, such as CNCBLesions.")
        height, width = batch["image"].shape[-2:]
        last = len(self.class_names) - 1
        for name, instances in zip(batch["id"], batch[self.target], strict=True):
            boxes, labels = instances["boxes"], instances["labels"]
            low, high = boxes[:, :2], boxes[:, 2:]
            inside = (low >= 0).all(1) & (high[:, 0] <= width) & (high[:, 1] <= height)
            right = (high > low).all(1) & inside & (labels >= 1) & (labels <= last)
            for index in (~right).nonzero()[:1, 0].tolist():
                raise BatchError(
                    f"Object {index} of {name!r} has the box {boxes[index].tolist()} and the label "
                    f"{int(labels[index])}: boxes need an area inside the {height}x{width} slice, labels lie between 1 "
                    f"and {last}."
                )

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Lesions of a batch.

        Returns:
            ``id`` list of str, ``scan`` and ``subject`` (B,) int64, ``detections`` a list of dicts (boxes (N, 4)
            float32 xyxy pixels, labels (N,) int64, scores (N,) float32, masks (N, 1, H, W) bool), and ``mask``
            (B, 1, H, W) uint8, the class of the best detection on each pixel.
        """
        self.check_batch(batch, label=False)
        found = self.model.detect(*self.network_inputs(batch))
        mask = torch.stack([label_pixels(one, mask_threshold=self.mask_threshold) for one in found])[:, None]
        known = {key: batch[key] for key in ("id", "scan", "subject")}
        hard = [one | {"masks": one["masks"] > self.mask_threshold} for one in found]
        return {**known, "detections": hard, "mask": mask}

    def _step(self, batch: Batch, stage: str) -> Tensor:
        """Loss of a batch; see :class:`BaseTask`."""
        self.check_batch(batch)
        self.check_target(batch)
        (image,), targets = self.network_inputs(batch), batch[self.target]
        # A step draws by its number: a training that is resumed draws what it would have drawn.
        with self._drawing(torch.initial_seed() + self.global_step if stage == "train" else _SEED):
            if stage == "train":
                losses = self.model.losses(image, targets)
            else:
                losses, found = self.model.losses_and_detections(image, targets)
        if stage != "train":
            key = torch.tensor([stable_hash(name) for name in batch["id"]], device=self.device)
            self._metrics(stage).update(found, list(targets), scan=key)
        loss = torch.stack(list(losses.values())).sum()
        self._log_loss(stage, loss.detach(), len(targets))
        parts = {f"{stage}_{name}": value.detach() for name, value in losses.items()}
        self.log_dict(
            parts, on_step=False, on_epoch=True, batch_size=batch_weight(len(targets)), sync_dist=stage != "train"
        )
        return loss

    @contextmanager
    def _drawing(self, seed: int) -> Iterator[None]:
        """Random numbers of their own; those of the process stay where they are."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed % _LARGEST_SEED)
            yield

    def _log_scores(self, stage: str) -> None:
        """Log the scores of a stage; training has losses alone, since detections of each step would cost as much."""
        if stage != "train":
            super()._log_scores(stage)

    def _new_metrics(self, stage: str) -> DetectionMetrics:
        """Average precision, both kinds."""
        return DetectionMetrics(self.class_names, mask_threshold=self.mask_threshold)
