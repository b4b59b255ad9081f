"""``BundleNetwork``: a network of covidct as MONAI bundles want it, one tensor in and one out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from covidct.inference.export_network import ExportNetwork
from covidct.tasks.load import build_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ("BundleNetwork",)


class BundleNetwork(nn.Module):
    """The network of a task, with what it takes beside the image as further channels.

    The channels are those of the image, then the lung mask (above 0: lung) where the network takes one, then the
    contrast of the scan, the same number everywhere, where a gate goes by it.

    Args:
        task: name of a class of :mod:`covidct.tasks`.
        hyper_parameters: of the task.

    Raises:
        CheckpointError: when there is no such task, or it cannot be built of them.
    """

    def __init__(self, task: str, hyper_parameters: Mapping[str, Any]) -> None:
        """Build it with random weights."""
        super().__init__()
        built = build_task({"task": task, "preprocessing": None}, hyper_parameters, source="The bundle")
        self.exported = ExportNetwork(built)

    @property
    def extra_channels(self) -> tuple[str, ...]:
        """What stands behind the channels of the image."""
        return self.exported.inputs[1:]

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities of scans, slices, X-rays or their pixels.

        Args:
            image: (B, C, D, H, W) or (B, C, H, W) float32 in [0, 1], with the channels above.

        Returns:
            (B, classes) or (B, classes, ...) float32; features (B, F) of a contrastive pre-training; (B, 1, H, W)
            uint8 lesion classes of a detector.
        """
        own = image.shape[1] - len(self.extra_channels)
        further = {name: image[:, own + at : own + at + 1] for at, name in enumerate(self.extra_channels)}
        if "lung_mask" in further:
            further["lung_mask"] = (further["lung_mask"] > 0).to(torch.uint8)
        if "contrast" in further:
            further["contrast"] = further["contrast"].flatten(1)[:, 0]
        found: Tensor = self.exported(image[:, :own], **further)[self.exported.main]
        return found
