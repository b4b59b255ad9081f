"""``LesionMaskRCNN``: Mask R-CNN for ground-glass opacity and consolidation, stage 1 of COVID-CT-Mask-Net.

A. Ter-Sarkisov, "COVID-CT-Mask-Net: Prediction of COVID-19 from CT Scans Using Regional Features" (2020), and the
author's code (AlexTS1980/COVID-CT-Mask-Net), called the reference; the slides of the course project show it in use.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign

from covidct.errors import BatchError
from covidct.models.lesion_detector import (
    ANCHOR_RATIOS,
    ANCHOR_SIZES,
    LesionDetector,
    check_thresholds,
)
from covidct.models.resnet_fpn import Backbone, Truncation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from torchvision.models.detection.image_list import ImageList

    from covidct.labels import MaskType

__all__ = ("LesionMaskRCNN",)

Instances = dict[str, "Tensor"]
Detections = dict[str, "Tensor"]


class LesionMaskRCNN(LesionDetector):
    """Find lesions in CT slices: a box, a class, a score and a mask of each.

    In training mode a call gives the five losses, in evaluation mode the detections. Slices without any lesion are
    allowed as negatives. The mask branch is torchvision's four convolutions of 256 channels with ResNet-50, and one of
    128 channels with the light backbones (reference, train_segmentation.py).

    Args:
        backbone: ``"resnet50"``, ``"resnet34"`` or ``"resnet18"``.
        truncation: stages that the light backbones leave out: 0, 1 or 2.
        mask_type: ``"both"`` (ground-glass opacity 1, consolidation 2), ``"ggo"`` (ground-glass opacity alone) or
            ``"merge"`` (both as one class).
        anchor_sizes: of every level, in pixels.
        anchor_ratios: height by width of the anchors.
        score_threshold: detections of a lower score are dropped; 0.05 (reference's default; its README has 0.75).
        nms_threshold: overlap of the detections of one class; 0.5 (reference's default; its README has 0.75).
        rpn_nms_threshold: overlap of the proposals; 0.75 (reference).
        max_detections: per slice; 100 (slides; the reference's evaluation has 128).
        weights: ImageNet weights of the backbone, by name or path, loaded at once; None is random initialisation.

    Raises:
        UsageError: for a value out of range.
        WeightsError: when ``weights`` cannot be had.
    """

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
        max_detections: int = 100,
        weights: str | None = None,
    ) -> None:
        """Build the network."""
        check_thresholds(score=score_threshold)
        super().__init__(
            backbone=backbone,
            truncation=truncation,
            mask_type=mask_type,
            anchor_sizes=anchor_sizes,
            anchor_ratios=anchor_ratios,
            rpn_nms_threshold=rpn_nms_threshold,
            nms_threshold=nms_threshold,
            score_threshold=score_threshold,
            max_detections=max_detections,
        )
        width = self.backbone.out_channels
        layers, reduced = ((width,) * 4, width) if backbone == "resnet50" else ((128,), 128)
        levels = self.roi_heads.box_roi_pool.featmap_names
        self.roi_heads.mask_roi_pool = MultiScaleRoIAlign(levels, output_size=14, sampling_ratio=2)
        self.roi_heads.mask_head = MaskRCNNHeads(width, layers, dilation=1)
        self.roi_heads.mask_predictor = MaskRCNNPredictor(reduced, reduced, len(self.class_names))
        if weights is not None:
            self.load_backbone(weights)

    def forward(
        self, image: Tensor, instances: Sequence[Instances] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Losses in training mode, detections in evaluation mode.

        Args:
            image: (B, C, H, W) float in [0, 1], C = 1 or 3.
            instances: of each slice, needed in training mode: boxes (N, 4) float32 xyxy pixels, labels (N,) int64 from
                1, masks (N, H, W) uint8; N may be 0.

        Returns:
            In training mode as :meth:`losses`, in evaluation mode as :meth:`detect`.

        Raises:
            BatchError: when the shapes do not fit, or ``instances`` is missing in training mode.
        """
        return self.losses(image, instances) if self.training else self.detect(image)

    def losses(self, image: Tensor, instances: Sequence[Instances] | None) -> dict[str, Tensor]:
        """The five losses of a batch, whatever the mode: their sum is what is trained.

        Batch normalisation follows the mode of the network, so a network in evaluation mode keeps its statistics; the
        reference's validation pass moves them.

        Args:
            image: as in :meth:`forward`.
            instances: as in :meth:`forward`.

        Returns:
            ``loss_objectness`` and ``loss_rpn_box_reg`` of the proposals, ``loss_classifier``, ``loss_box_reg`` and
            ``loss_mask`` of the regions, each () float32. Anchors and regions are drawn from torch's random numbers.

        Raises:
            BatchError: when the shapes do not fit or ``instances`` is missing.
        """
        return self._losses(*self.encode(image), instances)

    def detect(self, image: Tensor) -> list[Detections]:
        """Lesions of each slice, by decreasing score.

        Args:
            image: as in :meth:`forward`.

        Returns:
            One dict per slice: boxes (N, 4) float32 xyxy pixels, labels (N,) int64, scores (N,) float32 in [0, 1],
            masks (N, 1, H, W) float32 in [0, 1], torchvision's form.
        """
        return self._detect(*self.encode(image))

    def losses_and_detections(
        self, image: Tensor, instances: Sequence[Instances]
    ) -> tuple[dict[str, Tensor], list[Detections]]:
        """Both from one pass of the backbone, for validation.

        Args:
            image: as in :meth:`forward`.
            instances: as in :meth:`forward`.

        Returns:
            The first as :meth:`losses` gives it, the second as :meth:`detect`.
        """
        images, features = self.encode(image)
        return self._losses(images, features, instances), self._detect(images, features)

    def set_thresholds(
        self, *, score: float | None = None, nms: float | None = None, rpn_nms: float | None = None
    ) -> None:
        """Change what is dropped in evaluation; None keeps a value.

        Args:
            score: least score of a detection.
            nms: overlap of the detections of one class.
            rpn_nms: overlap of the proposals.

        Raises:
            UsageError: for a value outside [0, 1].
        """
        given = {"score": score, "nms": nms, "rpn_nms": rpn_nms}
        check_thresholds(**{name: value for name, value in given.items() if value is not None})
        self.roi_heads.score_thresh = self.roi_heads.score_thresh if score is None else score
        self.roi_heads.nms_thresh = self.roi_heads.nms_thresh if nms is None else nms
        self.rpn.nms_thresh = self.rpn.nms_thresh if rpn_nms is None else rpn_nms

    def _losses(
        self, images: ImageList, features: dict[str, Tensor], instances: Sequence[Instances] | None
    ) -> dict[str, Tensor]:
        """Losses of feature maps."""
        if instances is None or len(instances) != len(images.image_sizes):
            given = "none" if instances is None else str(len(instances))
            raise BatchError(f"The losses need the instances of {len(images.image_sizes)} slices, {given} are given.")
        targets = list(instances)
        with _mode(self, training=True):
            proposals, proposal_losses = self.rpn(images, features, targets)
            _, region_losses = self.roi_heads(features, proposals, images.image_sizes, targets)
        return {name: loss.float() for name, loss in (proposal_losses | region_losses).items()}

    def _detect(self, images: ImageList, features: dict[str, Tensor]) -> list[Detections]:
        """Detections of feature maps."""
        with _mode(self, training=False):
            proposals, _ = self.rpn(images, features)
            found, _ = self.roi_heads(features, proposals, images.image_sizes)
        pasted = [
            paste_masks_in_image(one["masks"].float(), one["boxes"], size)
            for one, size in zip(found, images.image_sizes, strict=True)
        ]
        return [one | {"masks": masks} for one, masks in zip(found, pasted, strict=True)]


@contextmanager
def _mode(detector: LesionMaskRCNN, *, training: bool) -> Iterator[None]:
    """Proposals and heads in another mode than the backbone; they hold nothing whose state the mode moves."""
    parts = (detector.rpn, detector.roi_heads)
    before = [part.training for part in parts]
    for part in parts:
        part.training = training
    try:
        yield
    finally:
        for part, mode in zip(parts, before, strict=True):
            part.training = mode
