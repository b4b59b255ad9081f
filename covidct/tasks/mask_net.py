"""``CovidCTMaskNetTask``: a slice's diagnosis from ranked lesion regions, stage 2 of COVID-CT-Mask-Net."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch.nn import functional as F

from covidct.errors import UsageError
from covidct.models import CovidCTMaskNet
from covidct.models.lesion_detector import ANCHOR_RATIOS, ANCHOR_SIZES
from covidct.models.mask_net_weights import read_detector
from covidct.models.resnet_fpn import Backbone, Truncation
from covidct.models.stored_network import network_arguments
from covidct.tasks.classification import ClassificationTask
from covidct.weights import weights_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from covidct.labels import MaskType
    from covidct.models import StoredDetector, TakenOver
    from covidct.sample import Batch, Kind

__all__ = ("CovidCTMaskNetTask",)

_LOGGER = logging.getLogger(__name__)
_LEARNING_RATE = 1e-5
_WEIGHT_DECAY = 1e-3
_REGIONS = ("regions", "region_boxes", "region_labels", "region_count")


class CovidCTMaskNetTask(ClassificationTask):
    """Diagnose CT slices by the ranked regions of a lesion detector.

    Stage 2 of A. Ter-Sarkisov, "COVID-CT-Mask-Net: Prediction of COVID-19 from CT Scans Using Regional Features";
    "reference" marks what the author's code sets, "recommendation" what it leaves open.

    Input: ``image`` (B, C, H, W) in [0, 1], slices of 512 x 512 (reference, in training; its evaluation resizes the
    shorter side, which is another thing for slices that are not square: recommendation, 512 x 512 in both).

    Training: binary cross-entropy on each output, mean over batch and classes (reference's code; the algorithm on the
    slides has the positive term alone, whose minimum calls every class), Adam with learning rate 1e-5 and weight decay
    1e-3 (reference), 8 slices per batch and 50 epochs (reference; 10 epochs on the slides). Only module S and the
    scales and shifts of the "bn" layers are trained, see :class:`covidct.models.CovidCTMaskNet`. Epochs and batch size
    belong to the trainer and the data module: see ``examples/configs/mask_net.yaml``.

    Args:
        num_classes: outputs; 3: control, common pneumonia, COVID-19 (reference).
        backbone: as in stage 1.
        truncation: as in stage 1.
        mask_type: as in stage 1.
        anchor_sizes: as in stage 1; those of ``weights`` are taken over.
        anchor_ratios: as in stage 1; those of ``weights`` are taken over.
        num_regions: N; 256, 128 for the light backbones (reference).
        features: F, width of module S; 1024, 512 for the light backbones (reference).
        nms_threshold: overlap of regions of one class (reference).
        rpn_nms_threshold: overlap of proposals (reference).
        weights: path of the trained detector (a checkpoint of ``LesionMaskRCNNTask`` or the reference's ``.pth``), or
            of a classifier to go on from (of this task or the reference), read at the start of a fresh training; None
            trains on a random detector, which the log warns of.
        learning_rate: of Adam, when ``optimizer`` is None.
        weight_decay: of Adam, when ``optimizer`` is None.
        class_weights: None, ``"balanced"`` or a factor per class; see :class:`ClassificationTask`.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None keeps the rate (reference).

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` beside a ``learning_rate`` or ``weight_decay``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_slice",)
    monitor: ClassVar[tuple[str, Literal["min", "max"]] | None] = ("val_f1_macro", "max")
    model: CovidCTMaskNet

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
        weights: str | None = None,
        learning_rate: float = _LEARNING_RATE,
        weight_decay: float = _WEIGHT_DECAY,
        class_weights: Literal["balanced"] | list[float] | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        anchor_sizes, anchor_ratios = list(anchor_sizes), list(anchor_ratios)  # as JSON has them
        super().__init__(
            num_classes=num_classes, class_weights=class_weights, optimizer=optimizer, lr_scheduler=lr_scheduler
        )
        self.taken_over: TakenOver | None = None

    def build_model(self) -> CovidCTMaskNet:
        """The network, with random weights."""
        return CovidCTMaskNet(**network_arguments(CovidCTMaskNet, self.hparams))

    def start_fresh(self) -> None:
        """Take over ``weights``; say so when there are none.

        Raises:
            WeightsError: when the file cannot be read or its tensors do not fit.
            UsageError: see :meth:`load_weights`.
        """
        super().start_fresh()
        if self.hparams["weights"] is None:
            _LOGGER.warning(
                "CovidCTMaskNetTask has no weights: the detector is random and stays frozen; give the checkpoint of a "
                "trained LesionMaskRCNNTask as weights."
            )

    def load_weights(self, weights: str) -> None:
        """Take over a trained detector or classifier, and tell what of it was and was not.

        Raises:
            WeightsError: when the file cannot be read or its tensors do not fit.
            UsageError: when it was trained with another backbone, truncation or mask type, on slices of other grey
                values, or, a classifier, for other classes.
        """
        found = read_detector(weights_path(weights))
        found.require(backbone=self.hparams["backbone"], truncation=self.hparams["truncation"])
        found.require(mask_type=self.hparams["mask_type"])
        self._require_same_slices(found)
        if found.anchors is not None:
            self.model.set_anchors(*found.anchors)
            self.hparams["anchor_sizes"], self.hparams["anchor_ratios"] = map(list, found.anchors)
        taken = self.taken_over = self.model.load_detector(found.state, source=found.source)
        _LOGGER.info(
            "%s: %d tensors taken over, %d of the mask branch left out, %d of module S %s",
            found.source,
            len(taken.loaded),
            len(taken.left_out),
            len(taken.fresh),
            "keep their random values" if taken.fresh else "among those taken over",
        )

    def _require_same_slices(self, found: StoredDetector) -> None:
        """The detector is frozen: what it takes for a lesion cannot adapt to other grey values."""
        if found.class_names and found.class_names != self.class_names:
            raise UsageError(
                f"{found.source} tells {', '.join(found.class_names)}, the data has {', '.join(self.class_names)}: "
                "give the classes in that order, or a detector as weights."
            )
        if found.preprocessing is None or self.preprocessing is None:
            return
        for name in ("window", "masking", "enhancement"):
            theirs, ours = getattr(found.preprocessing, name), getattr(self.preprocessing, name)
            if theirs != ours:
                raise UsageError(
                    f"{found.source} was trained on slices with {name}={theirs!r}, these have {ours!r}: set "
                    f"{name}={theirs!r} in the data module, or train the detector on such slices."
                )
        if found.preprocessing.size != self.preprocessing.size:
            _LOGGER.warning(
                "%s was trained on slices of %s pixels, these have %s: its anchors and lesions are of another size.",
                found.source,
                found.preprocessing.size,
                self.preprocessing.size,
            )

    def default_optimizer(self) -> torch.optim.Adam:
        """Adam, learning rate 1e-5, weight decay 1e-3 (reference, config_classifier.py and train_classifier.py)."""
        return torch.optim.Adam(
            self._parameters_to_train(), lr=self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"]
        )

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Binary cross-entropy of every output against the one-hot label, in float32.

        Args:
            logits: (B, C), any floating dtype.
            label: (B,) int64.

        Returns:
            () float32: mean over batch and classes, each slice times its class weight; ln 2 for logits of 0.
        """
        truth = F.one_hot(label, logits.shape[1]).float()
        terms = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none").mean(1)
        return (terms * self.class_weight[label]).mean()

    def probabilities(self, logits: Tensor) -> Tensor:
        """The outputs' sigmoids divided by their sum: each output was trained to be the probability of its class.

        The reference takes the largest output and gives no probabilities (recommendation); the order is the same.

        Args:
            logits: (B, C), any floating dtype.

        Returns:
            (B, C) float32.
        """
        return F.logsigmoid(logits.float()).softmax(1)  # sigmoid(x) / sum of sigmoids, without 0 / 0

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Probabilities of a batch and the regions they come from.

        Returns:
            What :meth:`ClassificationTask.predict_step` gives, and ``regions`` (B, N, 5), ``region_boxes`` (B, N, 4),
            ``region_labels`` (B, N) and ``region_count`` (B,), see :meth:`covidct.models.CovidCTMaskNet.forward`.
        """
        self.check_batch(batch, label=False)
        output = self(batch)
        return {**self._prediction(batch, output["logits"]), **{key: output[key] for key in _REGIONS}}
