"""``DarkCovidNetTask``: the baseline of the chest X-ray system with its recipe."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.models import DarkCovidNet
from covidct.models.stored_network import network_arguments
from covidct.tasks.classification import ClassificationTask
from covidct.tasks.normalisation import check_normalisation, fill_statistics

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from covidct.sample import Kind

__all__ = ("DarkCovidNetTask",)

_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 1e-2
_BETAS = (0.9, 0.99)


class DarkCovidNetTask(ClassificationTask):
    """Classify chest X-rays by DarkCovidNet (Ozturk et al. 2020) from random weights.

    Input: ``image`` (B, 1 or 3, 256, 256) in [0, 1].

    Training, of the published code (github.com/muhammedtalo/COVID-19, "reference code"): cross-entropy, ``Learner`` and
    ``fit_one_cycle`` of fastai 1 with a largest learning rate of 3e-3, else by fastai's defaults: Adam with betas 0.9
    and 0.99 and decoupled weight decay 0.01 of all parameters; the rate rises as a cosine over 30 % of the steps from a
    25th of its largest value and falls to a 250,000th, while the first beta goes from 0.95 to 0.85 and back. 100
    epochs, 32 images per batch, images normalised by statistics of the training images (of its first batch; here of all
    of them). Epochs and batch size belong to the trainer and the data module: see
    ``examples/configs/dark_covidnet.yaml``.

    Args:
        num_classes: outputs; 2, no finding and COVID-19, or 3 with pneumonia (reference code).
        normalisation: ``"dataset"``: mean and standard deviation of all pixels of the training images, found at the
            start of a fresh training and kept in the checkpoint (reference code); ``"imagenet"``: ImageNet's, or those
            given.
        mean: of one or three channels, in [0, 1]; None: as ``normalisation`` says.
        std: of one or three channels, above 0; as ``mean``.
        learning_rate: the largest of AdamW, when ``optimizer`` is None.
        weight_decay: of AdamW, when ``optimizer`` is None.
        class_weights: None, ``"balanced"`` or a factor per class; see :class:`ClassificationTask`.
        optimizer: makes another optimizer of the parameters, whose rates are then the largest of the cycle; None is the
            recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None is the recipe above.

    Raises:
        UsageError: for a value out of range, ``mean`` or ``std`` beside ``normalisation="dataset"``, or an
            ``optimizer`` beside a ``learning_rate`` or ``weight_decay``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    kinds: ClassVar[tuple[Kind, ...]] = ("cxr",)
    model: DarkCovidNet

    def __init__(
        self,
        *,
        num_classes: int = 2,
        normalisation: Literal["imagenet", "dataset"] = "dataset",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        learning_rate: float = _LEARNING_RATE,
        weight_decay: float = _WEIGHT_DECAY,
        class_weights: Literal["balanced"] | list[float] | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        check_normalisation(normalisation, mean=mean, std=std)
        super().__init__(
            num_classes=num_classes, class_weights=class_weights, optimizer=optimizer, lr_scheduler=lr_scheduler
        )

    def build_model(self) -> DarkCovidNet:
        """The network, with random weights."""
        return DarkCovidNet(**network_arguments(DarkCovidNet, self.hparams))

    def start_fresh(self) -> None:
        """Take the statistics of the training images, where asked for.

        Raises:
            UsageError: when the data module does not know them.
        """
        if self.hparams["normalisation"] == "dataset":
            fill_statistics(self.model.mean, self.model.std, self.trainer)
        super().start_fresh()

    def default_optimizer(self) -> torch.optim.AdamW:
        """AdamW, betas 0.9 and 0.99, weight decay 0.01: fastai 1's defaults, which the reference code leaves alone."""
        return torch.optim.AdamW(
            self._parameters_to_train(),
            lr=self.hparams["learning_rate"],
            betas=_BETAS,
            weight_decay=self.hparams["weight_decay"],
        )

    def default_lr_scheduler(self, optimizer: Optimizer) -> torch.optim.lr_scheduler.OneCycleLR | None:
        """One cycle over all steps (reference code); constant when their number is not set.

        PyTorch's defaults are fastai 1's.
        """
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            return None
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=int(steps),
            cycle_momentum="betas" in optimizer.defaults or "momentum" in optimizer.defaults,
        )
