"""``FPNDenseNetTask``: the lung segmentation of the chest X-ray system, with its recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.functional import clean_lung_mask
from covidct.losses import ComboLoss
from covidct.models import FPNDenseNet
from covidct.models.stored_network import network_arguments
from covidct.tasks.cosine import cosine_to_zero
from covidct.tasks.normalisation import check_normalisation, fill_statistics
from covidct.tasks.slice_segmentation import SliceSegmentationTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.optim import Optimizer

    from covidct.sample import Kind

__all__ = ("FPNDenseNetTask",)

_LEARNING_RATE = 1e-4


class FPNDenseNetTask(SliceSegmentationTask):
    """Find the lungs in chest X-rays by an FPN with a DenseNet encoder.

    Phase 1 of the chest X-ray system ("Classification of COVID-19 from chest X-ray images using Deep Neural Networks",
    2022, "paper"), which names network, loss, augmentation and normalisation; all other settings are a recommendation.

    Input: ``image`` (B, 1 or 3, H, W) in [0, 1], 256 x 256 pixels (paper). Target: ``lung_mask``, of which right and
    left are one.

    Training: Dice, cross-entropy and focal loss (paper; :class:`covidct.losses.ComboLoss`), AdamW with learning rate
    1e-4, which falls to zero as a cosine, 20 epochs, 16 X-rays per batch. Epochs, batch size and augmentation belong to
    the trainer and the data module: see ``examples/configs/fpn_densenet.yaml``.

    Args:
        backbone: the encoder, ``"densenet121"`` (paper) or another DenseNet; see :class:`covidct.models.FPNDenseNet`.
        pyramid_channels: channels of the pyramid.
        segmentation_channels: channels of its levels before they are added.
        dropout: share of the channels dropped before the last convolution.
        weights: weights of the encoder, fetched at the start of a fresh training: ``"IMAGENET1K_V1"`` (paper) or the
            path of a file with torchvision's names; None is random initialisation.
        normalisation: ``"dataset"`` (paper): mean and standard deviation of the training images, computed at the start
            of a fresh training and kept with the weights; ``"imagenet"``: those of the published weights.
        learning_rate: of AdamW, when ``optimizer`` is None.
        postprocess: remove small parts and fill small holes (:func:`covidct.functional.clean_lung_mask`, paper) in
            validation, test and prediction.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None is the recipe above.

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` beside a ``learning_rate``.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("cxr",)
    model: FPNDenseNet

    def __init__(
        self,
        *,
        backbone: Literal["densenet121", "densenet161", "densenet169", "densenet201"] = "densenet121",
        pyramid_channels: int = 256,
        segmentation_channels: int = 128,
        dropout: float = 0.2,
        weights: str | None = None,
        normalisation: Literal["imagenet", "dataset"] = "dataset",
        learning_rate: float = _LEARNING_RATE,
        postprocess: bool = True,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        check_normalisation(normalisation, mean=None, std=None)
        super().__init__(postprocess=postprocess, optimizer=optimizer, lr_scheduler=lr_scheduler)

    def build_model(self) -> FPNDenseNet:
        """The network, with random weights."""
        return FPNDenseNet(**network_arguments(FPNDenseNet, self.hparams))

    def new_loss(self) -> ComboLoss:
        """Dice over the batch, cross-entropy and focal loss, in equal parts."""
        return ComboLoss()

    def mend_mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask without small parts and small holes."""
        return clean_lung_mask(mask)

    def start_fresh(self) -> None:
        """Fetch the weights of the encoder, then measure the training images where that is asked for.

        Raises:
            UsageError: when the images cannot be measured.
            WeightsError: when the weights cannot be had or do not fit.
        """
        super().start_fresh()
        if self.hparams["normalisation"] == "dataset":
            fill_statistics(self.model.mean, self.model.std, self.trainer)

    def default_optimizer(self) -> torch.optim.AdamW:
        """AdamW, learning rate 1e-4: recommendation; the paper is silent."""
        return torch.optim.AdamW(self._parameters_to_train(), lr=self.hparams["learning_rate"])

    def default_lr_scheduler(self, optimizer: Optimizer) -> torch.optim.lr_scheduler.LambdaLR | None:
        """The rate falls to zero over the trainer's epochs as a cosine; constant when their number is not set."""
        return cosine_to_zero(optimizer, epochs=self.trainer.max_epochs)
