"""``UNet2dTask``: the 2-D U-Net that takes the background of slices away, with its recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.models import UNet2d
from covidct.models.stored_network import network_arguments
from covidct.tasks.cosine import cosine_to_zero
from covidct.tasks.slice_segmentation import SliceSegmentationTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

__all__ = ("UNet2dTask",)

_LEARNING_RATE = 1e-3


class UNet2dTask(SliceSegmentationTask):
    """Find the lungs in CT slices by a 2-D U-Net.

    The network of the gated dual-contrast ensemble (D000, section 3.2.2) for background removal, beside morphology
    (:func:`covidct.functional.lung_mask_2d`). The document names a U-Net and no more: all settings are a
    recommendation.

    Input: ``image`` (B, 1 or 3, H, W) in [0, 1], 224 x 224 pixels windowed to [-1250, 250] HU. Target: ``lung_mask``,
    of which right and left are one.

    Training: soft Dice and binary cross-entropy (:class:`covidct.losses.DiceBCELoss`), AdamW with learning rate 1e-3,
    which falls to zero as a cosine, 30 epochs, 16 slices per batch. Epochs and batch size belong to the trainer and the
    data module: see ``examples/configs/unet2d.yaml``.

    Args:
        in_channels: channels of the first convolution, 1 or 3; the image may have either.
        channels: width of each level, top down; 31,036,481 parameters.
        upsample: ``"transpose"`` or ``"bilinear"``.
        pad: pad sizes that cannot be pooled, and crop the result.
        learning_rate: of AdamW, when ``optimizer`` is None.
        postprocess: keep the two largest parts of each slice and fill their holes; see :class:`SliceSegmentationTask`.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None is the recipe above.

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` beside a ``learning_rate``.
    """

    model: UNet2d

    def __init__(
        self,
        *,
        in_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        upsample: Literal["transpose", "bilinear"] = "transpose",
        pad: bool = False,
        learning_rate: float = _LEARNING_RATE,
        postprocess: bool = True,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        channels = list(channels)  # a hyper-parameter as JSON has it
        super().__init__(postprocess=postprocess, optimizer=optimizer, lr_scheduler=lr_scheduler)

    def build_model(self) -> UNet2d:
        """The network, with random weights."""
        return UNet2d(**network_arguments(UNet2d, self.hparams))

    def default_optimizer(self) -> torch.optim.AdamW:
        """AdamW, learning rate 1e-3: recommendation; the document is silent."""
        return torch.optim.AdamW(self._parameters_to_train(), lr=self.hparams["learning_rate"])

    def default_lr_scheduler(self, optimizer: Optimizer) -> torch.optim.lr_scheduler.LambdaLR | None:
        """The rate falls to zero over the trainer's epochs as a cosine; constant when their number is not set."""
        return cosine_to_zero(optimizer, epochs=self.trainer.max_epochs)
