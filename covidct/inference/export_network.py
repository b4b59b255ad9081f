"""``ExportNetwork``: the network of a task as exported files hold it, and the shapes of what goes in."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from covidct.errors import CheckpointError, UsageError
from covidct.functional import label_pixels
from covidct.models import TwoLevelClassifier
from covidct.tasks import (
    ClassificationTask,
    ContrastiveTask,
    CovidCTMaskNetTask,
    DetectionTask,
    GatedEnsembleTask,
    SegmentationTask,
)

if TYPE_CHECKING:
    from torch import Tensor

    from covidct.preprocessing import Preprocessing
    from covidct.tasks import BaseTask

__all__ = ("ExportNetwork", "Signature", "draws_boxes", "fixes_depth", "normalisation", "signature_of")

_LUNG_SHARE = 0.5  # of the pixels of random masks


class ExportNetwork(nn.Module):
    """Images, and what else the network needs, to everything it knows of them.

    Softmax and sigmoid are inside, so that ``prob`` is what ``covidct predict`` and ``covidct triage`` give, mean and
    standard deviation are too. There is no padding: all slices are real.

    Attributes:
        inputs: names of what :meth:`forward` needs, in its order.
        main: name of the output that matters most: ``"prob"``; ``"features"`` of a contrastive pre-training,
            ``"mask"`` of a detector.

    Args:
        task: its network is copied, without the parts that serve training alone.
    """

    def __init__(self, task: BaseTask) -> None:
        """Copy the network."""
        super().__init__()
        needed = {"image" if name == "views" else name for name in task.inputs}
        self.inputs = tuple(name for name in ("image", "lung_mask", "contrast") if name in needed)
        self.main = "prob"
        self._maps = isinstance(task, SegmentationTask)
        self._diagnoses = isinstance(task, ClassificationTask)
        self._mask_threshold = task.mask_threshold if isinstance(task, DetectionTask) else None
        network = task.model
        if isinstance(task, ContrastiveTask):
            self.main, network = "features", task.model.query.trunk
        self.network: nn.Module = copy.deepcopy(network)
        if self._mask_threshold is not None:
            self.main = "mask"
        for part in self.network.modules():
            if isinstance(part, TwoLevelClassifier):
                part.level1_folds = nn.ModuleList()
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(
        self, image: Tensor, lung_mask: Tensor | None = None, contrast: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Everything the network knows.

        Args:
            image: (B, C, D, H, W) or (B, C, H, W) float32 in [0, 1].
            lung_mask: (B, 1, D, H, W) uint8, 0 outside the lungs, where the network takes it.
            contrast: (B,) float32, where the network takes it.

        Returns:
            ``"prob"`` and ``"logits"`` of classes or of pixels, and what else there is: ``"attention"`` (B, D),
            ``"slice_prob"`` (B, D, C), ``"high"`` (B,). Of a contrastive pre-training ``"features"`` (B, F), of a
            detector ``"mask"`` (B, 1, H, W) uint8, the class of the best detection on each pixel.
        """
        if self.main == "features":
            return {"features": self.network(image).float()}
        given = {"image": image, "lung_mask": lung_mask, "contrast": contrast}
        found: Any = self.network(**{name: given[name] for name in self.inputs})
        if self._mask_threshold is not None:
            masks = [label_pixels(one, mask_threshold=self._mask_threshold) for one in found]
            return {"mask": torch.stack(masks)[:, None]}
        known = found if isinstance(found, dict) else {"logits": found}
        tensors = {name: value for name, value in known.items() if isinstance(value, torch.Tensor)}
        logits = tensors.pop("logits").float()
        soft = logits.softmax(1) if self._diagnoses or self._maps else logits.sigmoid()
        return {"prob": soft, "logits": logits, **tensors}


@dataclass(frozen=True)
class Signature:
    """Shapes of the inputs of an exported network.

    Attributes:
        names: as :attr:`ExportNetwork.inputs`.
        channels: of the image.
        size: pixels per side.
        volumes: whether there is an axis of depth.
        step: the depth is a multiple of it.
        depth: the only depth there is; None: any.
        line: contrast at which a gate parts the scans.
    """

    names: tuple[str, ...]
    channels: int
    size: int
    volumes: bool
    step: int = 1
    depth: int | None = None
    line: float = 0.0

    @property
    def least(self) -> int:
        """The smallest depth: where volumes are pooled, the lowest level must keep two slices to be exported."""
        return 1 if self.step == 1 else 2 * self.step

    def fixed(self, depth: int) -> Signature:
        """The same for one depth alone."""
        return replace(self, depth=depth)

    def shape(self, name: str) -> tuple[int | str, ...]:
        """Axes of an input, those that are free as words.

        Args:
            name: of the input.
        """
        if name == "contrast":
            return ("batch",)
        free: int | str = "depth" if self.step == 1 else f"{self.step}*n"
        depth = (free if self.depth is None else self.depth,) * self.volumes
        return ("batch", self.channels if name == "image" else 1, *depth, self.size, self.size)

    def random(self, batch: int, depth: int, *, seed: int = 0) -> dict[str, Tensor]:
        """Inputs of random numbers.

        Args:
            batch: B.
            depth: D, without meaning for images.
            seed: of the numbers.
        """
        numbers = torch.Generator().manual_seed(seed)
        axes = (*(depth,) * self.volumes, self.size, self.size)
        made = {"image": torch.rand(batch, self.channels, *axes, generator=numbers)}
        if "lung_mask" in self.names:
            made["lung_mask"] = (torch.rand(batch, 1, *axes, generator=numbers) < _LUNG_SHARE).to(torch.uint8)
        if "contrast" in self.names:
            side = torch.arange(batch) % 2 * 2 - 1
            made["contrast"] = self.line + side * (0.1 + torch.rand(batch, generator=numbers))
        return made

    def depths(self, more: int | None = None) -> tuple[int, ...]:
        """Depths to try: twice the same if there is but one, else two, and ``more``; 0 of images."""
        if not self.volumes:
            return (0, 0)
        if self.depth is not None:
            return (self.depth, self.depth)
        first = max(2, self.least)
        return (first, first + 3 * self.step, *(() if more is None else (more,)))


def signature_of(task: BaseTask, *, size: int | None = None) -> Signature:
    """What a task's network takes, by the record of its training.

    Args:
        task: with the record.
        size: pixels per side, where the record leaves it open.

    Raises:
        CheckpointError: when there is no record.
        UsageError: when the record has another size, or neither tells one.
    """
    record = _record_of(task)
    if record.size is None and size is None:
        raise UsageError("The training kept the size of its images, an exported file has one: give it by --size.")
    if None not in (record.size, size) and record.size != size:
        raise UsageError(f"The network was trained on {record.size} pixels per side, not {size}: leave --size out.")
    volumes = record.kind == "ct_volume"
    segments = isinstance(task, SegmentationTask)
    return Signature(
        names=ExportNetwork(task).inputs,
        channels=task.hparams["in_channels"] if segments else 1,  # data modules give one
        size=record.size or size or 0,
        volumes=volumes,
        step=2 ** (len(task.hparams["channels"]) - 1) if segments else 1,
        line=float(task.model.threshold) if isinstance(task, GatedEnsembleTask) else 0.0,
    )


def _record_of(task: BaseTask) -> Preprocessing:
    """The record, which has to travel with the network."""
    if task.preprocessing is None:
        raise CheckpointError(
            f"The checkpoint belongs to {type(task).__name__} with no recorded pre-processing, so what the network has "
            "to see is unknown: train it with a data module of covidct."
        )
    return task.preprocessing


def normalisation(network: ExportNetwork) -> list[dict[str, Any]]:
    """Mean and standard deviation that parts of a network bring images in [0, 1] to 0 and 1 with, each part once."""
    found = []
    for name, part in network.network.named_modules():
        buffers = dict(part.named_buffers(recurse=False))
        if {"mean", "std"} <= buffers.keys():
            found.append({"part": name, **{key: buffers[key].flatten().tolist() for key in ("mean", "std")}})
    return found


def fixes_depth(network: nn.Module) -> bool:
    """Whether ``torch.export`` takes a network for one depth alone: it writes ``nn.LSTM`` out step by step."""
    return any(isinstance(part, nn.LSTM) for part in network.modules())


def draws_boxes(task: BaseTask) -> bool:
    """Whether a task's network goes by boxes, whose number is another in each slice."""
    return isinstance(task, DetectionTask | CovidCTMaskNetTask)
