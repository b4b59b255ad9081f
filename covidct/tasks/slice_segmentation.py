"""``SliceSegmentationTask``: loss, scores and predicted masks of every network that finds the lungs in an image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.errors import BatchError
from covidct.functional.background import mend
from covidct.losses import DiceBCELoss
from covidct.metrics import SliceMaskMetrics
from covidct.tasks.base import BaseTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from covidct.preprocessing import Preprocessing
    from covidct.sample import Batch, Kind

__all__ = ("SliceSegmentationTask",)

_CLASSES = ("background", "lung")


class SliceSegmentationTask(BaseTask):
    """Lungs of either side against the rest in slices or X-rays, whatever the classes of the data set are.

    Logs ``<stage>_loss`` and at the end of each epoch ``<stage>_dice`` and ``<stage>_dice_slice`` of
    :class:`covidct.metrics.SliceMaskMetrics`. Training scores are those of the plain threshold and the weights of the
    moment; validation and test score what :meth:`predict_step` gives.

    The pre-processing record has the task's own class names, and where the image is left unmasked, the source of the
    masks of a data set does not bind: they are what is compared with, not what the network sees.

    Args:
        postprocess: mend the masks (:meth:`mend_mask`) in validation, test and prediction. Of slices a recommendation:
            the document of the gated ensemble (D000) is silent.
        optimizer: as in :class:`BaseTask`.
        lr_scheduler: as in :class:`BaseTask`.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_slice",)
    target: ClassVar[str] = "lung_mask"
    monitor: ClassVar[tuple[str, Literal["min", "max"]] | None] = ("val_dice", "max")

    def __init__(
        self,
        *,
        postprocess: bool = True,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network and the loss."""
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        self.postprocess = postprocess
        self.loss = self.new_loss()

    def new_loss(self) -> nn.Module:
        """The loss of logits and masks, both (B, 1, H, W); soft Dice and cross-entropy (recommendation)."""
        return DiceBCELoss()

    def mend_mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is made of a ``mask`` (H, W) in {0, 1}, of the same form: the two largest parts, their holes filled."""
        return mend(mask, 2)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Background and lung: the values of a mask."""
        return _CLASSES

    def own_preprocessing(self, asked: Preprocessing) -> Preprocessing:
        """With the task's classes, and the recorded source of masks where no mask touches the image."""
        free = self.preprocessing is not None and asked.masking == "original"
        source = self.preprocessing.mask_source if free and self.preprocessing else asked.mask_source
        return replace(asked, classes=self.class_names, mask_source=source)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Lung masks of a batch.

        Returns:
            ``id`` list of str, ``scan`` and ``subject`` (B,) int64, ``mask`` (B, 1, H, W) uint8 (1 inside),
            ``area_cm2`` (B,) float32, NaN where the spacing is unknown.
        """
        self.check_batch(batch, label=False)
        mask = self._finish(self(batch))
        spacing = batch.get("spacing")
        pixel = torch.full((len(mask),), torch.nan, device=mask.device) if spacing is None else spacing.prod(1)
        known = {key: batch[key] for key in ("id", "scan", "subject")}
        return {**known, "mask": mask, "area_cm2": mask.sum((1, 2, 3)) * pixel / 100}

    def _step(self, batch: Batch, stage: str) -> Tensor:
        """Loss of a batch; see :class:`BaseTask`."""
        if self.target not in batch:
            raise BatchError("The batch has no 'lung_mask' to compare with: set mask_source in the data module.")
        self.check_batch(batch)
        target = batch["lung_mask"]
        logits = self(batch)
        loss: Tensor = self.loss(logits, target)
        self._log_loss(stage, loss.detach(), len(logits))
        found = (logits.detach() > 0) if stage == "train" else self._finish(logits.detach())
        self._metrics(stage).update(found, target, scan=batch["scan"], ids=batch["id"])
        return loss

    def _finish(self, logits: Tensor) -> Tensor:
        """Mask (B, 1, H, W) uint8 of logits."""
        mask = (logits > 0).to(torch.uint8)
        if not self.postprocess:
            return mask
        kept = [torch.from_numpy(self.mend_mask(one[0].cpu().numpy())) for one in mask]
        return torch.stack(kept)[:, None].to(mask.device)

    def _new_metrics(self, stage: str) -> SliceMaskMetrics:
        """Overlap with the masks of the data set."""
        return SliceMaskMetrics()
