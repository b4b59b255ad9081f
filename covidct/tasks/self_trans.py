"""``SelfTransTask``: the contrastive pre-training of Self-Trans with its recipe."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.layers import Attention
from covidct.models import SelfTransDenseNet
from covidct.models.stored_network import network_arguments
from covidct.tasks.contrastive import ContrastiveTask
from covidct.tasks.cosine import cosine_to_zero

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

__all__ = ("SelfTransTask",)

_LEARNING_RATE = 0.015
_TEMPERATURES = {"v1": 0.07, "v2": 0.2}  # MoCo's published code and its command for the second version
_DROPS = (0.6, 0.8)  # of the training; MoCo's published code: epochs 120 and 160 of 200


class SelfTransTask(ContrastiveTask):
    """Pre-train a DenseNet-169 on slices without labels, to be fine-tuned on few with them.

    Self-Trans (He et al. 2020; D000, appendix A.1): ImageNet weights, momentum contrast on LUNA16, then on COVID-CT,
    then fine-tuning. One training of this task is one data set; the next begins with ``weights`` from its checkpoint,
    and so does fine-tuning, whose network takes the query encoder's trunk::

        SelfTransTask(weights="IMAGENET1K_V1")  # on slices of LUNA16
        SelfTransTask(weights="luna16.ckpt")  # on COVID-CT, training part
        SliceClassifierTask(backbone="densenet169", weights="covid_ct.ckpt", mean=[0.45271412], std=[0.33165374])

    Input: ``views`` (B, 2, 1 or 3, H, W) in [0, 1], 224 x 224 pixels, of :func:`covidct.transforms.moco_views`.

    Training: InfoNCE against a queue, SGD with momentum 0.9 and weight decay 1e-4 (MoCo's published code). Learning
    rate 0.03 for 256 images per step over all processes, in proportion for others: 0.015 for the reference's 128. The
    task does not look at the batch: set ``learning_rate`` to 0.03 n / 256. ``"v1"`` divides it by ten after 60 and
    80 % of the trainer's epochs (120 and 160 of 200), ``"v2"`` lets it fall to zero as a cosine. Epochs and batch size
    belong to the trainer and the data module: see ``examples/configs/self_trans.yaml``.

    Args:
        backbone: as in :class:`covidct.models.SelfTransDenseNet`.
        version: ``"v1"`` or ``"v2"`` of MoCo: projection, temperature and schedule. The views are the data module's.
        dim: of the projection.
        queue_size: K, number of negatives.
        momentum: of the key encoder.
        bn_groups: groups of the batch that batch normalisation sees apart.
        temperature: None is the version's: 0.07 or 0.2.
        attention: blocks in the backbone; see :func:`covidct.layers.insert_attention`.
        mean: of one or three channels, in [0, 1]. The default is that of the published fine-tuning script, so that
            weights and normalisation need not part.
        std: of one or three channels; as ``mean``.
        neighbours: how many vote in the nearest-neighbour evaluation; see :class:`ContrastiveTask`.
        learning_rate: of SGD, when ``optimizer`` is None.
        weights: what training starts from; see :meth:`covidct.models.SelfTransDenseNet.load_backbone`. None is random
            weights.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None is the recipe above.

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` beside a ``learning_rate``.
    """

    def __init__(
        self,
        *,
        backbone: str = "densenet169",
        version: Literal["v1", "v2"] = "v2",
        dim: int = 128,
        queue_size: int = 1024,
        momentum: float = 0.999,
        bn_groups: int = 4,
        temperature: float | None = None,
        attention: Attention | None = None,
        mean: Sequence[float] | None = (0.45271412,),
        std: Sequence[float] | None = (0.33165374,),
        neighbours: int = 20,
        learning_rate: float = _LEARNING_RATE,
        weights: str | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network and the loss."""
        mean, std = (None if values is None else list(values) for values in (mean, std))  # as JSON has them
        super().__init__(
            temperature=_TEMPERATURES.get(version, 1.0) if temperature is None else temperature,
            neighbours=neighbours,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
        )

    def build_model(self) -> SelfTransDenseNet:
        """The network, with random weights."""
        return SelfTransDenseNet(**network_arguments(SelfTransDenseNet, self.hparams))

    def default_optimizer(self) -> torch.optim.SGD:
        """SGD, momentum 0.9, weight decay 1e-4 (MoCo's published code), of the query encoder alone."""
        return torch.optim.SGD(
            self._parameters_to_train(), lr=self.hparams["learning_rate"], momentum=0.9, weight_decay=1e-4
        )

    def default_lr_scheduler(self, optimizer: Optimizer) -> torch.optim.lr_scheduler.LambdaLR | None:
        """Steps (v1) or a cosine (v2) over the trainer's epochs; constant when their number is not set."""
        epochs = self.trainer.max_epochs
        if self.hparams["version"] == "v2":
            return cosine_to_zero(optimizer, epochs=epochs)
        if not epochs or epochs < 0:
            return None
        return torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_steps, epochs=epochs))


def _steps(epoch: int, *, epochs: int) -> float:
    """Share of the learning rate in an epoch, a tenth of it after each drop."""
    return 0.1 ** sum(epoch >= round(drop * epochs) for drop in _DROPS)
