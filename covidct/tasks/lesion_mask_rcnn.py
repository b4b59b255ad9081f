"""``LesionMaskRCNNTask``: Mask R-CNN of lung lesions with its recipe, stage 1 of COVID-CT-Mask-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.models import LesionMaskRCNN
from covidct.models.lesion_detector import ANCHOR_RATIOS, ANCHOR_SIZES
from covidct.models.resnet_fpn import Backbone, Truncation
from covidct.models.stored_network import network_arguments
from covidct.tasks.detection import DetectionTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.labels import MaskType
    from covidct.sample import Kind

__all__ = ("LesionMaskRCNNTask",)

_LEARNING_RATE = 1e-5
_WEIGHT_DECAY = 1e-3


class LesionMaskRCNNTask(DetectionTask):
    """Find ground-glass opacity and consolidation in CT slices by Mask R-CNN.

    Stage 1 of A. Ter-Sarkisov, "COVID-CT-Mask-Net: Prediction of COVID-19 from CT Scans Using Regional Features";
    "reference" marks what the author's code sets, "recommendation" what it leaves open.

    Input: ``image`` (B, C, H, W) in [0, 1], slices of 512 x 512 (reference). Target: ``instances``, connected parts of
    more than 100 pixels (reference).

    Training: the sum of the five losses (reference), Adam with learning rate 1e-5 and weight decay 1e-3 (reference), no
    schedule (reference), 100 epochs (reference's README; its configuration has 50), one slice per batch (reference), no
    augmentation (reference), ImageNet weights (reference's README; its code loads none). Epochs and batch size belong
    to the trainer and the data module: see ``examples/configs/lesion_mask_rcnn.yaml``.

    Args:
        backbone: ``"resnet50"``, or ``"resnet34"`` and ``"resnet18"`` of the light models (reference).
        truncation: stages that the light backbones leave out; 0 for ResNet-50 (reference).
        mask_type: ``"both"``, ``"ggo"`` or ``"merge"`` (reference).
        anchor_sizes: in pixels, on every level (reference).
        anchor_ratios: height by width (reference).
        score_threshold: least score of a detection (reference's default).
        nms_threshold: overlap of detections of one class (reference's default).
        rpn_nms_threshold: overlap of proposals (reference).
        mask_threshold: of the soft masks (reference).
        max_detections: per slice (slides).
        weights: ImageNet weights of the backbone by name (``"IMAGENET1K_V1"``) or the path of a file, fetched at the
            start of a fresh training; None is random initialisation.
        learning_rate: of Adam, when ``optimizer`` is None.
        weight_decay: of Adam, when ``optimizer`` is None.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None keeps the rate (reference).

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` beside a ``learning_rate`` or ``weight_decay``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_slice",)
    monitor: ClassVar[tuple[str, Literal["min", "max"]] | None] = ("val_reference_map_lesions", "max")

    def __init__(
        self,
        *,
        backbone: Backbone = "resnet50",
        truncation: Truncation = 0,
        mask_type: MaskType = "both",
        anchor_sizes: Sequence[int] = ANCHOR_SIZES,
        anchor_ratios: Sequence[float] = ANCHOR_RATIOS,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        rpn_nms_threshold: float = 0.75,
        mask_threshold: float = 0.5,
        max_detections: int = 100,
        weights: str | None = None,
        learning_rate: float = _LEARNING_RATE,
        weight_decay: float = _WEIGHT_DECAY,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        anchor_sizes, anchor_ratios = list(anchor_sizes), list(anchor_ratios)  # as JSON has them
        super().__init__(
            mask_type=mask_type, mask_threshold=mask_threshold, optimizer=optimizer, lr_scheduler=lr_scheduler
        )

    def build_model(self) -> LesionMaskRCNN:
        """The network, with random weights."""
        return LesionMaskRCNN(**network_arguments(LesionMaskRCNN, self.hparams))

    def default_optimizer(self) -> torch.optim.Adam:
        """Adam, learning rate 1e-5, weight decay 1e-3 (reference, config_segmentation.py and train_segmentation.py)."""
        return torch.optim.Adam(
            self._parameters_to_train(), lr=self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"]
        )
