"""``MaskedGAPResNetTask``: the mask-weighted pooling classifier with its recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.models import MaskedGAPResNet
from covidct.models.stored_network import network_arguments
from covidct.tasks.classification import ClassificationTask
from covidct.tasks.slice_scores import logits_and_slice_scores

if TYPE_CHECKING:
    from covidct.sample import Batch, Kind

__all__ = ("MaskedGAPResNetTask",)

_LEARNING_RATE = 1e-5
_WEIGHT_DECAY = 1e-4


class MaskedGAPResNetTask(ClassificationTask):
    """Diagnose a CT scan by ResNet slices and mask-weighted global average pooling.

    G. Li, C. Sun, Z. Sun, "A Deep Learning Based Method For COVID-19 Classification Using Chest CT Images". The
    document gives the network and no training settings; the settings below are recommendations after COVNet, a network
    of the same form. "Document" marks what it sets, "recommendation" what it leaves open.

    Input: ``image`` (B, C, D, H, W) in [0, 1], an isotropic 128-cube (document, section II.C) windowed to
    [-1250, 250] HU (recommendation, COVNet); ``lung_mask``; ``slice_mask``.

    Training: cross-entropy on softmax (recommendation), Adam (recommendation, COVNet) with learning rate 1e-5
    (recommendation, COVNet) and weight decay 1e-4 (recommendation; COVNet's code has 0.1), 50 epochs (recommendation,
    COVNet), one scan per process and batch (recommendation, COVNet), ImageNet weights (recommendation, COVNet). Epochs
    and batch size belong to the trainer and the data module: see ``examples/configs/masked_gap_resnet.yaml``.

    Args:
        num_classes: outputs; 2, COVID-19 against the rest (document, Figure 8).
        backbone: ``"resnet50"`` (document, section II.E), ``"resnet34"`` or ``"resnet18"``.
        pooling: ``"mask"`` (document, eq. 1) or ``"mean"`` (the document's comparison, Table II).
        fusion: ``"max"`` (recommendation, COVNet; the document is silent) or ``"mean"``.
        slice_size: pixels of the longer side of a slice in the trunk; 224 (document, section II.E); None keeps it.
        slices_per_chunk: slices per pass in evaluation, a matter of memory only.
        sigma: width of the Gaussian on the mask, in cells; 1 (recommendation; the document is silent).
        checkpointing: recompute activations in the backward pass, to fit smaller devices.
        weights: published weights of the backbone by name (``"IMAGENET1K_V2"``) or the path of a file, fetched at the
            start of a fresh training; None is random initialisation.
        learning_rate: of Adam, when ``optimizer`` is None.
        weight_decay: of Adam, when ``optimizer`` is None.
        class_weights: None, ``"balanced"`` or a factor per class; see :class:`ClassificationTask`.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None keeps the rate (recommendation; the document is silent).

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` beside a ``learning_rate`` or ``weight_decay``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image", "lung_mask", "slice_mask")
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_volume",)
    model: MaskedGAPResNet

    def __init__(
        self,
        *,
        num_classes: int = 2,
        backbone: Literal["resnet18", "resnet34", "resnet50"] = "resnet50",
        pooling: Literal["mask", "mean"] = "mask",
        fusion: Literal["max", "mean"] = "max",
        slice_size: int | None = 224,
        slices_per_chunk: int = 16,
        sigma: float = 1.0,
        checkpointing: bool = False,
        weights: str | None = None,
        learning_rate: float = _LEARNING_RATE,
        weight_decay: float = _WEIGHT_DECAY,
        class_weights: Literal["balanced"] | list[float] | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        super().__init__(
            num_classes=num_classes, class_weights=class_weights, optimizer=optimizer, lr_scheduler=lr_scheduler
        )

    def build_model(self) -> MaskedGAPResNet:
        """The network, with random weights."""
        return MaskedGAPResNet(**network_arguments(MaskedGAPResNet, self.hparams))

    def default_optimizer(self) -> torch.optim.Adam:
        """Adam, learning rate 1e-5, weight decay 1e-4: recommendation after COVNet; the document is silent."""
        return torch.optim.Adam(
            self._parameters_to_train(), lr=self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"]
        )

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Probabilities of a batch and of its slices.

        Returns:
            What :meth:`ClassificationTask.predict_step` gives, and ``slice_scores`` (B, D, C) float32: the head on each
            slice alone, after softmax; NaN where a slice was not used (padding, no lung).
        """
        self.check_batch(batch, label=False)
        logits, scores = logits_and_slice_scores(self.model, self.network_inputs(batch))
        return {**self._prediction(batch, logits), "slice_scores": scores}
