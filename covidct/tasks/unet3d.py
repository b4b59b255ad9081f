"""``UNet3dTask``: the 3-D U-Net of the lungs with its recipe."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.errors import UsageError
from covidct.models import UNet3d
from covidct.models.stored_network import network_arguments
from covidct.tasks.segmentation import SegmentationTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

    from covidct.sample import Kind

__all__ = ("UNet3dTask",)

_LEARNING_RATE = 1e-3
_POWER = 0.9


class UNet3dTask(SegmentationTask):
    """Segment the right and left lung of a CT scan by a 3-D U-Net.

    The lung network of G. Li, C. Sun, Z. Sun, "A Deep Learning Based Method For COVID-19 Classification Using Chest CT
    Images", section II.B to II.D. The document gives the form of the network and the data (LUNA16, 300 scans for
    training and 30 for validation, Dice about 96.5 %), and no training settings. "Document" marks what it sets,
    "recommendation" what it leaves open.

    Input: ``image`` (B, 1, D, H, W) in [0, 1], an isotropic 128-cube (document, section II.C) windowed to
    [-1250, 250] HU (recommendation, the classifier's). Target: ``lung_mask``.

    Training: soft Dice and cross-entropy (recommendation; :class:`covidct.losses.DiceCELoss`), Adam with learning rate
    1e-3 (recommendation) that falls to zero as ``(1 - epoch / max_epochs) ** 0.9`` (recommendation; the power is
    nnU-Net's, Isensee et al. 2021), 100 epochs, 1 or 2 scans per batch (recommendation). Epochs and batch size belong
    to the trainer and the data module: see ``examples/configs/unet3d.yaml``.

    Args:
        in_channels: channels of the image.
        channels: width of each level, top down (recommendation; the document's figure is lost).
        norm: ``"batch"`` (recommendation), ``"instance"`` or None.
        upsample: ``"transpose"``, 2x2x2 convolutions that halve the channels (document).
        pad: pad sizes that cannot be pooled, and crop the result.
        checkpointing: recompute activations in the backward pass, to fit smaller devices.
        learning_rate: of Adam, when ``optimizer`` is None.
        power: of the schedule, when ``lr_scheduler`` is None; 0 keeps the rate.
        postprocess: keep the largest part of each lung and fill its holes (recommendation); see
            :class:`SegmentationTask`.
        tolerance_mm: of the normalised surface Dice; 1 mm as in the evaluation code of Ma et al. 2021.
        window_size: volumes with more voxels along an axis are predicted window by window of this many; None: the size
            of the training's cubes.
        overlap: of these windows (recommendation).
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None is the recipe above.

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` beside a ``learning_rate``, or an ``lr_scheduler``
            beside a ``power``.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_volume",)
    model: UNet3d

    def __init__(
        self,
        *,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64, 128, 256),
        norm: Literal["batch", "instance"] | None = "batch",
        upsample: Literal["transpose"] = "transpose",
        pad: bool = False,
        checkpointing: bool = False,
        learning_rate: float = _LEARNING_RATE,
        power: float = _POWER,
        postprocess: bool = True,
        tolerance_mm: float = 1.0,
        window_size: int | None = None,
        overlap: float = 0.25,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        channels = list(channels)  # a hyper-parameter as JSON has it
        if lr_scheduler is not None and power != _POWER:
            raise UsageError(
                "power belongs to the published schedule, but another scheduler is given: set it in that one."
            )
        if not power >= 0:
            raise UsageError(f"power={power} must not be negative.")
        super().__init__(
            postprocess=postprocess,
            tolerance_mm=tolerance_mm,
            window_size=window_size,
            overlap=overlap,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
        )

    def build_model(self) -> UNet3d:
        """The network, with random weights."""
        return UNet3d(num_classes=len(self.class_names), **network_arguments(UNet3d, self.hparams))

    def default_optimizer(self) -> torch.optim.Adam:
        """Adam, learning rate 1e-3: recommendation; the document is silent."""
        return torch.optim.Adam(self._parameters_to_train(), lr=self.hparams["learning_rate"])

    def default_lr_scheduler(self, optimizer: Optimizer) -> torch.optim.lr_scheduler.LambdaLR | None:
        """The rate falls to zero over the trainer's epochs as a power; constant when their number is not set."""
        epochs = self.trainer.max_epochs
        if not epochs or epochs < 0:
            return None
        # LambdaLR keeps no number of epochs in its state: a training that is resumed for more of them follows those.
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, partial(_falling, epochs=epochs, power=self.hparams["power"])
        )


def _falling(epoch: int, *, epochs: int, power: float) -> float:
    """Share of the learning rate in an epoch, from 1 to 0."""
    return float(max(1 - epoch / epochs, 0.0) ** power)
