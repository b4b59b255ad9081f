"""A network of a few hundred weights with dropout: random numbers matter, and a checkpoint is small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from covidct.datamodules import CTSliceDataModule
from covidct.tasks.classification import ClassificationTask
from tests.fakes.chests import FakeSlices

if TYPE_CHECKING:
    from pathlib import Path

    from torch.optim import Optimizer

    from covidct.sample import Kind


class DropoutTask(ClassificationTask):
    """Three classes of CT slices."""

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_slice",)

    def __init__(self, *, dropout: float = 0.5, num_classes: int = 3) -> None:
        super().__init__(num_classes=num_classes)

    def build_model(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(self.hparams["dropout"]),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, self.hparams["num_classes"]),
        )

    def default_optimizer(self) -> Optimizer:
        return torch.optim.AdamW(self._parameters_to_train(), lr=0.01)

    def default_lr_scheduler(self, optimizer: Optimizer) -> Any:  # noqa: ANN401
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)


def slices(folder: Path, count: int = 12, **options: Any) -> CTSliceDataModule:  # noqa: ANN401
    """Four slices of each chest, augmented, two in a batch."""
    given = {"size": 16, "mask_source": "file", "batch_size": 2, "cache_dir": str(folder), **options}
    return CTSliceDataModule(FakeSlices(count), **given)
