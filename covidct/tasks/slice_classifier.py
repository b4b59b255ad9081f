"""``SliceClassifierTask``: any torchvision network as a classifier of CT slices and chest X-rays, with its recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.models import SliceClassifier
from covidct.models.stored_network import network_arguments
from covidct.tasks.classification import ClassificationTask
from covidct.tasks.cosine import cosine_to_zero
from covidct.tasks.normalisation import check_normalisation, fill_statistics

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from covidct.sample import Kind

__all__ = ("SliceClassifierTask",)

_LEARNING_RATE = 1e-4
_WEIGHT_DECAY = 1e-2


class SliceClassifierTask(ClassificationTask):
    """Classify CT slices or chest X-rays by a torchvision network.

    The slice classifier of the gated dual-contrast ensemble (the practicum's report, "document": section 3.3.2 and
    appendix A.1). The document compares networks, attention blocks and losses and gives no settings; "recommendation"
    marks those below.

    Input: ``image`` (B, 1 or 3, H, W) in [0, 1], 224 x 224 pixels windowed to [-1250, 250] HU (recommendation; COVNet's
    window).

    Training: cross-entropy, or focal loss (document, section 3.3.3), AdamW with learning rate 1e-4, which falls to zero
    as a cosine, 30 epochs, 32 slices per batch (recommendation). Epochs and batch size belong to the trainer and the
    data module: see ``examples/configs/slice_classifier.yaml``.

    Chest X-rays: the classifier of "Classification of COVID-19 from chest X-ray images using Deep Neural Networks"
    (2022, "paper"), which compares normalisations, grey with RGB images, and images with and without their lungs. It
    does not say which network it trains, nor how: DenseNet-121 from ImageNet's weights with two outputs, the training
    above over 20 epochs, 32 images of 224 x 224 pixels per batch (recommendation), see
    ``examples/configs/cxr_classifier.yaml``. The data module decides between slices and X-rays.

    Args:
        num_classes: outputs; 3, normal, CAP and COVID-19 (document).
        backbone: any torchvision network that :class:`covidct.models.Trunk` takes; ``"resnet50"`` (recommendation).
        in_channels: 3: a grey image is repeated, "RGB" of the paper; 1: grey, by a first convolution whose kernels are
            the sums of the three channels'.
        attention: ``"cbam"``, ``"eca"`` (document, section 3.3.4) or ``"se"`` (its comparison) in a ResNet, ResNeXt or
            DenseNet, or None.
        dropout: share of the features dropped before the linear layer; 0 (recommendation).
        normalisation: ``"imagenet"``: mean and standard deviation are ImageNet's, or those given; ``"dataset"``: those
            of all pixels of the training images, found at the start of a fresh training and kept in the checkpoint. The
            paper's best result is with those of its data set.
        mean: of one or three channels, in [0, 1], one where ``in_channels`` is 1; None: as ``normalisation`` says.
        std: of one or three channels, above 0; as ``mean``.
        weights: weights of the trunk, fetched at the start of a fresh training: the name of published ones
            (``"IMAGENET1K_V1"``) or the path of a file, see :meth:`covidct.models.Trunk.load_published`; None is random
            initialisation.
        learning_rate: of AdamW, when ``optimizer`` is None.
        weight_decay: of AdamW, when ``optimizer`` is None; 0.01 (recommendation; torch's default).
        focal_gamma: gamma of the focal loss; 0 is cross-entropy, 2 the recommendation for the focal loss.
        class_weights: None, ``"balanced"`` or a factor per class; see :class:`ClassificationTask`.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None is the recipe above.

    Raises:
        UsageError: for a value out of range, ``mean`` or ``std`` beside ``normalisation="dataset"``, or an
            ``optimizer`` beside a ``learning_rate`` or ``weight_decay``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_slice", "cxr")
    model: SliceClassifier

    def __init__(
        self,
        *,
        num_classes: int = 3,
        backbone: str = "resnet50",
        in_channels: Literal[1, 3] = 3,
        attention: Literal["se", "eca", "cbam"] | None = None,
        dropout: float = 0.0,
        normalisation: Literal["imagenet", "dataset"] = "imagenet",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        weights: str | None = None,
        learning_rate: float = _LEARNING_RATE,
        weight_decay: float = _WEIGHT_DECAY,
        focal_gamma: float = 0.0,
        class_weights: Literal["balanced"] | list[float] | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        check_normalisation(normalisation, mean=mean, std=std)
        super().__init__(
            num_classes=num_classes,
            class_weights=class_weights,
            focal_gamma=focal_gamma,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
        )

    def build_model(self) -> SliceClassifier:
        """The network, with random weights."""
        return SliceClassifier(**network_arguments(SliceClassifier, self.hparams))

    def start_fresh(self) -> None:
        """Take the statistics of the training images, where asked for, and fetch ``weights``.

        Raises:
            UsageError: when the data module does not know its statistics.
            WeightsError: when the weights cannot be had or do not fit, those of a contrastive pre-training with other
                statistics too.
        """
        if self.hparams["normalisation"] == "dataset":
            fill_statistics(self.model.trunk.mean, self.model.trunk.std, self.trainer)
        super().start_fresh()

    def default_optimizer(self) -> torch.optim.AdamW:
        """AdamW, learning rate 1e-4, weight decay 0.01: recommendation; the document is silent."""
        return torch.optim.AdamW(
            self._parameters_to_train(), lr=self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"]
        )

    def default_lr_scheduler(self, optimizer: Optimizer) -> torch.optim.lr_scheduler.LambdaLR | None:
        """The rate falls to zero over the trainer's epochs as a cosine; constant when their number is not set."""
        return cosine_to_zero(optimizer, epochs=self.trainer.max_epochs)
