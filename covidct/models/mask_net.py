"""``CovidCTMaskNet``: a slice's diagnosis from the ranked regions of a lesion detector, stage 2 of COVID-CT-Mask-Net.

A. Ter-Sarkisov, "COVID-CT-Mask-Net: Prediction of COVID-19 from CT Scans Using Regional Features" (2020), and the
author's code (AlexTS1980/COVID-CT-Mask-Net), called the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import nn

from covidct.errors import UsageError, WeightsError
from covidct.functional import rank_regions
from covidct.models.lesion_detector import (
    ANCHOR_RATIOS,
    ANCHOR_SIZES,
    LesionDetector,
    check_thresholds,
)
from covidct.models.resnet_fpn import Backbone, Truncation
from covidct.weights import load_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from covidct.labels import MaskType

__all__ = ("CovidCTMaskNet", "TakenOver")

_ROW = 5  # of a region: score and four regression outputs
_MASK_BRANCH = ("roi_heads.mask_head.", "roi_heads.mask_predictor.")
_HEAD = "classifier."


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What :meth:`CovidCTMaskNet.load_detector` did with each tensor.

    Attributes:
        loaded: names that were taken over.
        left_out: names of the file that the classifier has no use for: the mask branch.
        fresh: names of the classifier that keep their values: module S, of a detector's file.
    """

    loaded: tuple[str, ...]
    left_out: tuple[str, ...]
    fresh: tuple[str, ...]


class RegionClassifier(nn.Sequential):
    """Module S: ranked regions to class scores by two hidden layers.

    Weights are drawn after Kaiming for the outputs, as in the reference; with N = 256 and F = 1024 there are 2,364,419
    parameters, with 128 and 512 592,387 (the 2.36 and 0.6 million of the reference's README).

    Args:
        num_regions: N, rows of a slice.
        features: F, width of the hidden layers.
        num_classes: outputs.
    """

    def __init__(self, num_regions: int, features: int, num_classes: int) -> None:
        """Build the layers."""
        super().__init__(
            nn.Linear(_ROW * num_regions, features),
            nn.ReLU(),
            nn.Linear(features, features),
            nn.ReLU(),
            nn.Linear(features, num_classes),
        )
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class CovidCTMaskNet(LesionDetector):
    """Classify CT slices by the N best regions of a lesion detector: their scores and raw box regressions.

    The detector comes from stage 1 (:meth:`load_detector`) and always is in evaluation mode: its running statistics
    stay. What is trained is module S and, of the detector, the scale and shift of batch normalisation in layers called
    "bn" (45,440 parameters of ResNet-50, 9,088 of ResNet-34 with truncation 1; those of the down-sampling branches have
    another name and stay, as in the reference); all else has ``requires_grad=False``. Gradients reach them through the
    features of the regions, not through the proposals.

    The reference runs image by image; here a batch makes one pass, and each slice's result is the one it has alone.
    Where fewer than N regions are left they are repeated in order, by a rule without random numbers
    (:func:`covidct.functional.rank_regions`).

    Args:
        num_classes: outputs: control, common pneumonia, COVID-19 in the reference.
        backbone: ``"resnet50"``, ``"resnet34"`` or ``"resnet18"``, as in stage 1.
        truncation: as in stage 1.
        mask_type: as in stage 1.
        anchor_sizes: as in stage 1.
        anchor_ratios: as in stage 1.
        num_regions: N; 256, 128 for the light backbones (reference).
        features: F; 1024, 512 for the light backbones (reference).
        nms_threshold: overlap of the regions of one class; 0.75 (reference).
        rpn_nms_threshold: overlap of the proposals; 0.75 (reference).

    Raises:
        UsageError: for a value out of range.
    """

    def __init__(
        self,
        *,
        num_classes: int = 3,
        backbone: Backbone = "resnet50",
        truncation: Truncation = 0,
        mask_type: MaskType = "both",
        anchor_sizes: Sequence[int] = ANCHOR_SIZES,
        anchor_ratios: Sequence[float] = ANCHOR_RATIOS,
        num_regions: int = 256,
        features: int = 1024,
        nms_threshold: float = 0.75,
        rpn_nms_threshold: float = 0.75,
    ) -> None:
        """Build the network and freeze the detector."""
        if num_classes < 2 or num_regions < 1 or features < 1:
            raise UsageError(
                f"num_classes={num_classes} must be at least 2, num_regions={num_regions} and features={features} at "
                "least 1."
            )
        check_thresholds(nms=nms_threshold)
        super().__init__(
            backbone=backbone,
            truncation=truncation,
            mask_type=mask_type,
            anchor_sizes=anchor_sizes,
            anchor_ratios=anchor_ratios,
            rpn_nms_threshold=rpn_nms_threshold,
            nms_threshold=nms_threshold,
            max_detections=num_regions,
        )
        self.num_regions = num_regions
        self.cam_layer = f"backbone.body.{self.backbone.taken[-1]}"  # its last stage, reached through the regions
        self.classifier = RegionClassifier(num_regions, features, num_classes)
        for name, parameter in self.named_parameters():
            parameter.requires_grad = name.startswith(_HEAD) or _is_norm(name)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch module S; the detector stays in evaluation mode."""
        super().train(False)
        self.training = mode
        self.classifier.train(mode)
        return self

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Diagnose slices.

        Args:
            image: (B, C, H, W) float in [0, 1], C = 1 or 3; 512 x 512 in the reference.

        Returns:
            ``logits`` (B, num_classes), ``regions`` (B, N, 5) score and raw regression, ``region_boxes`` (B, N, 4) xyxy
            pixels, ``region_labels`` (B, N) lesion class and ``region_count`` (B,) regions before they are filled up;
            see :class:`covidct.functional.RankedRegions`.

        Raises:
            BatchError: when the shape does not fit.
        """
        images, features = self.encode(image)
        with torch.no_grad():
            proposals, _ = self.rpn(images, features)
        heads = self.roi_heads
        pooled = heads.box_roi_pool(features, proposals, images.image_sizes)
        class_logits, regression = heads.box_predictor(heads.box_head(pooled))
        found = rank_regions(
            class_logits,
            regression,
            heads.box_coder.decode(regression.detach(), proposals),
            regions_per_image=[len(boxes) for boxes in proposals],
            image_size=images.image_sizes[0],
            num_regions=self.num_regions,
            nms_threshold=heads.nms_thresh,
        )
        return {
            "logits": self.classifier(found.rows.flatten(1)),
            "regions": found.rows,
            "region_boxes": found.boxes,
            "region_labels": found.labels,
            "region_count": found.found,
        }

    def load_detector(self, state: Mapping[str, Tensor], *, source: str) -> TakenOver:
        """Take over the weights of stage 1, or of a classifier to go on from.

        Args:
            state: names to tensors, of :class:`covidct.models.LesionMaskRCNN` or of this class.
            source: where it is from, for messages.

        Returns:
            What was taken over, left out and kept.

        Raises:
            WeightsError: when anything but the mask branch and module S is missing, unexpected or of another shape;
                nothing has been copied then.
        """
        own = self.state_dict()
        left_out = tuple(name for name in state if name.startswith(_MASK_BRANCH))
        taken = {name: tensor for name, tensor in state.items() if name not in left_out}
        fresh = () if any(name.startswith(_HEAD) for name in taken) else tuple(n for n in own if n.startswith(_HEAD))
        load_state(self, taken | {name: own[name] for name in fresh}, source=source, error=WeightsError)
        return TakenOver(tuple(taken), left_out, fresh)


def _is_norm(name: str) -> bool:
    """Whether a parameter belongs to a layer called "bn1", "bn2" or "bn3"."""
    return any(part.startswith("bn") for part in name.split("."))
