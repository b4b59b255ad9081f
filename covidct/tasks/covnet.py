"""``COVNetTask``: the maximum over slices with its published recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import ReduceLROnPlateau

from covidct.models import COVNet
from covidct.models.stored_network import network_arguments
from covidct.tasks.classification import ClassificationTask
from covidct.tasks.slice_scores import logits_and_slice_scores

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig
    from torch.optim import Optimizer

    from covidct.sample import Batch, Kind

__all__ = ("COVNetTask",)

_LEARNING_RATE = 1e-5
_WEIGHT_DECAY = 0.1
_FACTOR, _PATIENCE, _THRESHOLD = 0.3, 3, 1e-4  # reference code, main.py; its patience of 9 epochs ends the training


class COVNetTask(ClassificationTask):
    """Diagnose a CT scan by a 2-D network on each slice and the maximum over the slices.

    L. Li et al., "Artificial Intelligence Distinguishes COVID-19 from Community Acquired Pneumonia on Chest CT"
    (Radiology 2020), whose code (github.com/bkong999/COVNet, "reference code") is more explicit than the article; the
    end-to-end model of the gated dual-contrast ensemble. "Recommendation" marks what both leave open.

    Input: ``image`` (B, C, D, H, W) in [0, 1], every slice of the scan at 224 x 224 pixels (recommendation), windowed
    to [-1250, 250] HU, 0 outside the lungs (reference code); ``slice_mask``. The reference code gives the network these
    values as they are; here ImageNet's mean and deviation normalise them, as its weights were trained (recommendation).

    Training (reference code): cross-entropy on softmax, Adam with learning rate 1e-5 and weight decay 0.1, the rate
    times 0.3 after more than 3 epochs without a lower ``val_loss``, 50 epochs, stopped after 9 without a lower one, one
    scan per step, classes drawn equally often, batch normalisation by the statistics of the scan, its scale and shift
    as they come from ImageNet. Epochs, stopping, batch size, sampling and augmentation belong to the trainer and the
    data module: see ``examples/configs/covnet.yaml``.

    Args:
        num_classes: outputs; 3, normal, CAP and COVID-19 (publication).
        backbone: ``"resnet50"`` (publication), another ResNet, ResNeXt or DenseNet, or ``"csrnet"`` (the ensemble's
            report, appendix A.2).
        attention: ``"se"``, ``"eca"`` or ``"cbam"`` blocks in the backbone, or None (publication).
        statistics: of batch normalisation: ``"scan"`` (reference code) or ``"running"``; see
            :class:`covidct.models.COVNet`.
        train_norm: train scale and shift of batch normalisation; False (reference code).
        slice_size: pixels of the longer side of a slice in the trunk; 224 (recommendation); None keeps it.
        slices_per_chunk: slices per pass in evaluation with running statistics, a matter of memory only.
        checkpointing: recompute activations in the backward pass, to fit smaller devices.
        weights: published weights of the backbone by name (``"IMAGENET1K_V1"``; of VGG-16 for ``"csrnet"``) or the path
            of a file, fetched at the start of a fresh training; None is random initialisation.
        learning_rate: of Adam, when ``optimizer`` is None.
        weight_decay: of Adam, when ``optimizer`` is None.
        focal_gamma: gamma of the focal loss; 0 is cross-entropy (reference code).
        class_weights: None, ``"balanced"`` or a factor per class; see :class:`ClassificationTask`.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None is the recipe above.

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` beside a ``learning_rate`` or ``weight_decay``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image", "slice_mask")
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_volume",)
    model: COVNet

    def __init__(
        self,
        *,
        num_classes: int = 3,
        backbone: str = "resnet50",
        attention: Literal["se", "eca", "cbam"] | None = None,
        statistics: Literal["scan", "running"] = "scan",
        train_norm: bool = False,
        slice_size: int | None = 224,
        slices_per_chunk: int = 16,
        checkpointing: bool = False,
        weights: str | None = None,
        learning_rate: float = _LEARNING_RATE,
        weight_decay: float = _WEIGHT_DECAY,
        focal_gamma: float = 0.0,
        class_weights: Literal["balanced"] | list[float] | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        super().__init__(
            num_classes=num_classes,
            class_weights=class_weights,
            focal_gamma=focal_gamma,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
        )

    def build_model(self) -> COVNet:
        """The network, with random weights."""
        network = COVNet(**network_arguments(COVNet, self.hparams))
        for norm in network.modules():
            if isinstance(norm, _BatchNorm):
                norm.requires_grad_(self.hparams["train_norm"])
        return network

    def default_optimizer(self) -> torch.optim.Adam:
        """Adam, learning rate 1e-5, weight decay 0.1 (reference code)."""
        return torch.optim.Adam(
            self._parameters_to_train(), lr=self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"]
        )

    def default_lr_scheduler(self, optimizer: Optimizer) -> ReduceLROnPlateau:
        """The rate times 0.3 after more than 3 epochs without a lower ``val_loss`` (reference code)."""
        return ReduceLROnPlateau(optimizer, factor=_FACTOR, patience=_PATIENCE, threshold=_THRESHOLD)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig | OptimizerConfig:
        """As :class:`BaseTask`; a training without validation keeps the rate, with a warning."""
        config: Any = super().configure_optimizers()
        if self._lr_scheduler is None:
            config["lr_scheduler"]["strict"] = False
        return config  # type: ignore[no-any-return]

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Probabilities of a batch and of its slices.

        Returns:
            What :meth:`ClassificationTask.predict_step` gives, and ``slice_scores`` (B, D, C) float32: the head on each
            slice alone, after softmax; NaN on padding.
        """
        self.check_batch(batch, label=False)
        logits, scores = logits_and_slice_scores(self.model, self.network_inputs(batch))
        return {**self._prediction(batch, logits), "slice_scores": scores}
