"""``LesionDetector``: the parts of torchvision's detection that both stages of COVID-CT-Mask-Net are built of.

The reference is the code (AlexTS1980/COVID-CT-Mask-Net) of A. Ter-Sarkisov, "COVID-CT-Mask-Net: Prediction of COVID-19
from CT Scans Using Regional Features" (2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from covidct.errors import BatchError, UsageError
from covidct.labels import LESION_CLASSES
from covidct.models.imagenet import IMAGENET_MEAN, IMAGENET_STD
from covidct.models.resnet_fpn import PYRAMID_WIDTH, Backbone, ResNetFPN, Truncation
from covidct.weights import imagenet_weights, load_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from covidct.labels import MaskType

__all__ = ("ANCHOR_RATIOS", "ANCHOR_SIZES", "LesionDetector")

ANCHOR_SIZES = (2, 4, 8, 16, 32)
"""Anchor sizes in pixels, on every level of the pyramid (reference code, train_segmentation.py)."""
ANCHOR_RATIOS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)
"""Height divided by width of the anchors (reference code, train_segmentation.py)."""

_HIDDEN = 128  # width of the box head; reference code, TwoMLPHead
_DIVISOR = 32  # images are padded to a multiple, as torchvision's own transform does


class _RPNHead(RPNHead):
    """Box deltas leave in float32 under autocast: pixel coordinates of bfloat16 are off by pixels."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(x)
        return [level.float() for level in logits], [level.float() for level in deltas]


class _BoxPredictor(FastRCNNPredictor):
    """Scores and box deltas leave in float32 under autocast."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = super().forward(x)
        return logits.float(), deltas.float()


class _OverlapMatcher(Matcher):
    """torchvision's matcher, but an object that no anchor overlaps takes none.

    Its best overlap is 0, which nearly all anchors share, those without height too: all of them would become positive,
    and the loss infinite.
    """

    def set_low_quality_matches_(self, matches: Tensor, all_matches: Tensor, match_quality_matrix: Tensor) -> None:
        """Give each object that any anchor overlaps its best anchors."""
        overlapped = match_quality_matrix[match_quality_matrix.amax(1) > 0]
        super().set_low_quality_matches_(matches, all_matches, overlapped)


class RegionProposals(RegionProposalNetwork):
    """torchvision's region proposals; in evaluation only the best anchors of each level are decoded, not all."""

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals of each image, (n, 4) xyxy pixels, and, in training mode, the two losses."""
        if self.training:
            found: tuple[list[Tensor], dict[str, Tensor]] = super().forward(images, features, targets)
            return found
        levels = list(features.values())
        objectness, deltas = self.head(levels)
        one = ImageList(images.tensors, images.image_sizes[:1])  # all images of a batch have the same anchors
        (anchors,) = self.anchor_generator(one, levels)
        scores, boxes, counts, first = [], [], [], 0
        for level_scores, level_deltas in zip(objectness, deltas, strict=True):
            batch, kinds, height, width = level_scores.shape
            total = kinds * height * width
            flat = level_scores.permute(0, 2, 3, 1).reshape(batch, total)
            best, index = flat.topk(min(self.pre_nms_top_n(), total), dim=1)
            moves = level_deltas.view(batch, kinds, 4, height, width).permute(0, 3, 4, 1, 2).reshape(batch, total, 4)
            chosen = moves.gather(1, index[..., None].expand(-1, -1, 4)).reshape(-1, 4)
            around = anchors[first + index].reshape(-1, 4)
            boxes.append(self.box_coder.decode_single(chosen, around).view(batch, -1, 4))
            scores.append(best)
            counts.append(best.shape[1])
            first += total
        proposals, _ = self.filter_proposals(torch.cat(boxes, 1), torch.cat(scores, 1), images.image_sizes, counts)
        return proposals, {}


class LesionDetector(nn.Module):
    """Backbone, region proposals and box heads on slices of one size; the common part of both stages.

    Names of parameters are torchvision's (``backbone.body.layer1...``, ``rpn.head...``, ``roi_heads.box_head...``).
    torchvision rounds anchors to whole pixels, so that those of size 2 with the ratios 0.1 and 0.25 have no height and
    match nothing; the reference has them too.

    Args:
        backbone: ``"resnet18"``, ``"resnet34"`` or ``"resnet50"``.
        truncation: see :class:`ResNetFPN`; 0 for ResNet-50.
        mask_type: what the classes are, see :data:`covidct.labels.LESION_CLASSES`.
        anchor_sizes: of every level, in pixels.
        anchor_ratios: height by width of the anchors.
        rpn_nms_threshold: of the proposals; 0.75 (reference).
        nms_threshold: of the detections.
        score_threshold: detections of a lower score are dropped.
        max_detections: per image.

    Raises:
        UsageError: for a value out of range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        truncation: Truncation,
        mask_type: MaskType,
        anchor_sizes: Sequence[int] = ANCHOR_SIZES,
        anchor_ratios: Sequence[float] = ANCHOR_RATIOS,
        rpn_nms_threshold: float = 0.75,
        nms_threshold: float = 0.5,
        score_threshold: float = 0.05,
        max_detections: int = 100,
    ) -> None:
        """Build the parts from random weights."""
        _check_arguments(backbone, truncation, mask_type, anchor_sizes, anchor_ratios)
        check_thresholds(rpn_nms=rpn_nms_threshold, nms=nms_threshold)
        super().__init__()
        self.backbone_name: Backbone = backbone
        self.truncation: Truncation = truncation
        self.mask_type: MaskType = mask_type
        self.anchor_sizes, self.anchor_ratios = tuple(anchor_sizes), tuple(anchor_ratios)
        self.class_names = LESION_CLASSES[mask_type]
        self.backbone = ResNetFPN(backbone, truncation)
        self.rpn = self._proposals(rpn_nms_threshold)
        levels = [str(level) for level in range(len(self.backbone.taken))]
        self.roi_heads = RoIHeads(
            MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
            TwoMLPHead(PYRAMID_WIDTH * 7 * 7, _HIDDEN),
            _BoxPredictor(_HIDDEN, len(self.class_names)),
            fg_iou_thresh=0.75,  # this and the next three: reference code, train_segmentation.py
            bg_iou_thresh=0.5,
            batch_size_per_image=256,
            positive_fraction=0.75,
            bbox_reg_weights=(10.0, 10.0, 5.0, 5.0),  # torchvision's and the reference's
            score_thresh=score_threshold,
            nms_thresh=nms_threshold,
            detections_per_img=max_detections,
        )
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.backbone.to(memory_format=torch.channels_last)

    def _proposals(self, nms_threshold: float) -> RegionProposals:
        """Region proposals with the reference's settings."""
        anchors = self._anchors()
        proposals = RegionProposals(
            anchors,
            _RPNHead(PYRAMID_WIDTH, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.75,
            pre_nms_top_n={"training": 2000, "testing": 1000},
            post_nms_top_n={"training": 2000, "testing": 1000},
            nms_thresh=nms_threshold,
        )
        proposals.proposal_matcher = _OverlapMatcher(0.7, 0.3, allow_low_quality_matches=True)
        return proposals

    def set_anchors(self, sizes: Sequence[int], ratios: Sequence[float]) -> None:
        """Use the anchors that a detector was trained with; they have no parameters of their own.

        Args:
            sizes: in pixels, of every level.
            ratios: height by width.

        Raises:
            UsageError: when they are another number per place than the proposals' head was built for.
        """
        _check_arguments(self.backbone_name, self.truncation, self.mask_type, sizes, ratios)
        built = len(self.anchor_sizes) * len(self.anchor_ratios)
        if len(sizes) * len(ratios) != built:
            raise UsageError(
                f"The detector has {len(sizes)} x {len(ratios)} anchors per place, the network is built for {built}: "
                f"set anchor_sizes={list(sizes)} and anchor_ratios={list(ratios)}."
            )
        self.anchor_sizes, self.anchor_ratios = tuple(sizes), tuple(ratios)
        self.rpn.anchor_generator = self._anchors()

    def _anchors(self) -> AnchorGenerator:
        """The same anchors on every level: torchvision asks for one tuple per feature map."""
        levels = len(self.backbone.taken)
        return AnchorGenerator((self.anchor_sizes,) * levels, (self.anchor_ratios,) * levels)

    def load_backbone(self, weights: str) -> None:
        """Load ImageNet weights into the ResNet; the rest stays as it is.

        The reference asks for a pretrained backbone and its own builder loads none (facts of the system); here they are
        loaded where they are named.

        Args:
            weights: name in torchvision's weights enum, or path of a file with torchvision's names.

        Raises:
            WeightsError: when they cannot be had or do not fit.
        """
        left_out = ("fc.", *(f"layer{stage}." for stage in range(5 - self.truncation, 5)))
        state = imagenet_weights(self.backbone_name, weights)
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}
        load_state(self.backbone.body, kept, source=weights)

    def encode(self, image: Tensor) -> tuple[ImageList, dict[str, Tensor]]:
        """Normalise and pad a batch of slices, and find its feature maps.

        Args:
            image: (B, C, H, W) float in [0, 1], C = 1 or 3.

        Returns:
            The images (B, 3, H', W'), padded to multiples of 32, with their true size, and the levels of the pyramid:
            names to (B, 256, h, w).

        Raises:
            BatchError: when the shape is another, or batch normalisation has too little to take statistics of.
        """
        if image.ndim != 4 or image.shape[1] not in (1, 3):
            raise BatchError(f"'image' must be (B, 1 or 3, H, W), its shape is {tuple(image.shape)}.")
        height, width = image.shape[2:]
        cells = len(image) * -(-height // _DIVISOR) * -(-width // _DIVISOR) * 4**self.truncation  # of the last stage
        if self.backbone.training and cells < 2:
            raise BatchError(
                f"{len(image)} slice of {height}x{width} pixels gives batch normalisation one value per channel: give "
                "larger slices, or more of them."
            )
        x = (image - self.mean) / self.std  # one channel becomes three here
        x = F.pad(x, (0, -width % _DIVISOR, 0, -height % _DIVISOR)).contiguous(memory_format=torch.channels_last)
        return ImageList(x, [(height, width)] * len(image)), self.backbone(x)


def check_thresholds(**thresholds: float) -> None:
    """Refuse thresholds of overlap, score or mask outside [0, 1], and that of masks at 1.

    Args:
        **thresholds: name of each, without ``_threshold``.

    Raises:
        UsageError: names the first one.
    """
    for name, value in thresholds.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name}_threshold={value} must lie in [0, 1].")
        if name == "mask" and value == 1:
            raise UsageError("mask_threshold=1 leaves nothing, since no pixel is above it: give less.")


def _check_arguments(
    backbone: str, truncation: int, mask_type: str, sizes: Sequence[float], ratios: Sequence[float]
) -> None:
    """Refuse what no detector can be built of."""
    if backbone not in ("resnet18", "resnet34", "resnet50"):
        raise UsageError(f"backbone={backbone!r} is unknown: use 'resnet18', 'resnet34' or 'resnet50'.")
    if truncation not in (0, 1, 2) or (backbone == "resnet50" and truncation):
        raise UsageError(
            f"truncation={truncation} is not possible with {backbone}: use 0, 1 or 2, and 0 with resnet50, all of "
            "whose stages are used."
        )
    if mask_type not in LESION_CLASSES:
        raise UsageError(f"mask_type={mask_type!r} is unknown: use one of {', '.join(LESION_CLASSES)}.")
    for name, values in (("anchor_sizes", sizes), ("anchor_ratios", ratios)):
        if not len(values) or min(values) <= 0:
            raise UsageError(f"{name}={list(values)} is not usable: give at least one number, all above 0.")
