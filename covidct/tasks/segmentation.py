"""``SegmentationTask``: loss, scores per lung and predicted masks of every network that segments the lungs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.errors import BatchError, UsageError
from covidct.functional import keep_lungs, sliding_window_labels
from covidct.labels import LUNGS
from covidct.losses import DiceCELoss
from covidct.metrics import SegmentationMetrics
from covidct.tasks.base import BaseTask

if TYPE_CHECKING:
    from torch import Tensor

    from covidct.preprocessing import Preprocessing
    from covidct.sample import Batch

__all__ = ("SegmentationTask",)

_WINDOW = 128  # voxels: the published cube
_BOTH_SIDES = 0.35  # of an unsided mask lies on either side of the middle; ours: a single lung may reach across it


class SegmentationTask(BaseTask):
    """Background, right lung and left lung of CT volumes, whatever the classes of the data set are.

    Logs ``<stage>_loss`` and at the end of each epoch the scores of :class:`covidct.metrics.SegmentationMetrics`:
    ``<stage>_dice``, ``<stage>_dice_right_lung``, ``<stage>_dice_left_lung``, and in validation and test the like of
    ``hd95`` (mm) and ``surface_dice``. Training scores are those of the plain arg-max and the weights of the moment;
    validation and test score what :meth:`predict_step` would give of volumes up to ``window_size``: they take every
    volume whole.

    The loss counts every voxel, slices outside the scan too (``slice_mask`` False): the cube is what the network will
    see, and what lies beside the scan is background like other air. Predictions are background there in any case.
    Volumes of unlike depth should not share a batch: the network sees their padding.

    Where scans are mirrored, use an augmentation that knows the masks to have sides
    (:func:`covidct.transforms.segmentation_augment`, or ``Augment(..., sided=True)``): others leave the label of a
    scan of the right lung alone as it is.

    The pre-processing record has the task's own class names, and where the image is left unmasked, the source of the
    masks of a data set does not bind: they are what is compared with, not what the network sees.

    Args:
        postprocess: keep the largest part of each lung and fill its holes (:func:`covidct.functional.keep_lungs`) in
            validation, test and prediction.
        tolerance_mm: of the normalised surface Dice; 1 mm as in the evaluation code of Ma et al. 2021.
        window_size: volumes with more voxels along an axis are predicted window by window of this many voxels
            (:func:`covidct.functional.sliding_window_labels`); None: the size of the training's cubes, else 128.
        overlap: of the windows (recommendation).
        optimizer: as in :class:`BaseTask`.
        lr_scheduler: as in :class:`BaseTask`.

    Raises:
        UsageError: for a value out of range.
    """

    target: ClassVar[str] = "lung_mask"
    monitor: ClassVar[tuple[str, Literal["min", "max"]] | None] = ("val_dice", "max")

    def __init__(
        self,
        *,
        postprocess: bool = True,
        tolerance_mm: float = 1.0,
        window_size: int | None = None,
        overlap: float = 0.25,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network and the loss."""
        if tolerance_mm < 0 or (window_size is not None and window_size < 1) or not 0 <= overlap < 1:
            raise UsageError(
                f"tolerance_mm={tolerance_mm} must not be negative, window_size={window_size} must be at least 1 and "
                f"overlap={overlap} must lie in [0, 1)."
            )
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        self.postprocess = postprocess
        self.tolerance_mm = tolerance_mm
        self.window_size = window_size
        self.overlap = overlap
        self.loss = DiceCELoss()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Background, right lung and left lung: the values of a mask."""
        return LUNGS

    def own_preprocessing(self, asked: Preprocessing) -> Preprocessing:
        """With the task's classes, and the recorded source of masks where no mask touches the image."""
        free = self.preprocessing is not None and asked.masking == "original"
        source = self.preprocessing.mask_source if free and self.preprocessing else asked.mask_source
        return replace(asked, classes=self.class_names, mask_source=source)

    def labels(self, image: Tensor) -> Tensor:
        """Arg-max of the network, window by window where the volume is larger than ``window_size``.

        Args:
            image: (B, C, D, H, W) in [0, 1].

        Returns:
            (B, 1, D, H, W) uint8.
        """
        trained = self.preprocessing.size if self.preprocessing is not None else None
        window = self.window_size or trained or _WINDOW
        if max(image.shape[2:]) <= window:
            logits: Tensor = self.model(image)
            return logits.argmax(1, keepdim=True).to(torch.uint8)
        return sliding_window_labels(self.model, image, window=window, overlap=self.overlap)

    def check_target(self, batch: Batch) -> None:
        """Refuse masks that call both lungs 1 (or, mirrored, 2).

        A scan may show one lung only, so a mask is refused where it has one label alone and a good share of its voxels
        lie on either side of the middle of the volume.

        Args:
            batch: with ``lung_mask`` (B, 1, D, H, W) uint8.

        Raises:
            BatchError: names the scan, or that there are no masks.
        """
        if "lung_mask" not in batch:
            raise BatchError("The batch has no 'lung_mask' to compare with: set mask_source in the data module.")
        mask = batch["lung_mask"]
        columns = (mask > 0).sum((1, 2, 3))  # (B, W): along the width, towards the patient's left
        half = columns.shape[1] // 2
        less = torch.minimum(columns[:, :half].sum(1), columns[:, half:].sum(1))
        sided = torch.stack([(mask == side).flatten(1).any(1) for side in (1, 2)]).all(0)
        wrong = (less > _BOTH_SIDES * columns.sum(1)) & ~sided
        for name in [name for name, is_wrong in zip(batch["id"], wrong.tolist(), strict=True) if is_wrong]:
            raise BatchError(
                f"The lung mask of {name!r} has no sides (both lungs have one label): give masks of 1 for the right "
                "and 2 for the left lung, for instance by mask_source='threshold'."
            )

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Lung masks of a batch.

        Returns:
            ``id`` list of str, ``scan`` and ``subject`` (B,) int64, ``mask`` (B, 1, D, H, W) uint8 (0 background,
            1 right lung, 2 left lung), ``volume_ml`` (B, 2) float32 of the right and the left lung, NaN where the
            spacing is unknown.
        """
        self.check_batch(batch, label=False)
        mask = self._finish(self.labels(batch["image"]), batch)
        counts = torch.stack([(mask == side).sum((1, 2, 3, 4)) for side in (1, 2)], 1)
        spacing = batch.get("spacing")
        voxel = torch.full((len(mask),), torch.nan, device=mask.device) if spacing is None else spacing.prod(1)
        known = {key: batch[key] for key in ("id", "scan", "subject")}
        return {**known, "mask": mask, "volume_ml": counts * voxel[:, None] / 1000}

    def _step(self, batch: Batch, stage: str) -> Tensor:
        """Loss of a batch; see :class:`BaseTask`."""
        self.check_batch(batch)
        self.check_target(batch)
        target = batch["lung_mask"]
        logits = self(batch)
        loss: Tensor = self.loss(logits, target)
        self._log_loss(stage, loss.detach(), len(logits))
        labels = logits.detach().argmax(1, keepdim=True).to(torch.uint8)
        found = labels if stage == "train" else self._finish(labels, batch)
        self._metrics(stage).update(found, target, scan=batch["scan"], spacing=batch.get("spacing"))
        return loss

    def _finish(self, labels: Tensor, batch: Batch) -> Tensor:
        """Background beside the scan; the largest part of each lung."""
        inside = batch.get("slice_mask")
        if inside is not None:
            labels = labels * inside[:, None, :, None, None]
        if not self.postprocess:
            return labels
        kept = [torch.from_numpy(keep_lungs(one[0].cpu().numpy())) for one in labels]
        return torch.stack(kept)[:, None].to(labels.device)

    def _new_metrics(self, stage: str) -> SegmentationMetrics:
        """Scores of each lung; distances take too long for training."""
        distances = stage != "train"
        return SegmentationMetrics(self.class_names[1:], distances=distances, tolerance_mm=self.tolerance_mm)
