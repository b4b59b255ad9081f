"""A classifier of images that is made in no time: one convolution and one linear layer."""

from __future__ import annotations

import torch
from torch import nn

from covidct.tasks import ClassificationTask

__all__ = ("Flat", "FlatTask")


class Flat(nn.Module):
    """A network on single images."""

    cam_layer = "trunk"

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(1, 4, 3, stride=4)
        self.head = nn.Linear(4, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.trunk(image).relu().mean((2, 3)))
        return logits


class FlatTask(ClassificationTask):
    """Its task."""

    inputs = ("image",)
    kinds = ("cxr",)

    def build_model(self) -> nn.Module:
        return Flat(self.hparams["num_classes"])

    def default_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)
