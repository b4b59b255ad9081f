"""``GradCAMCases``: the same few scans with their Grad-CAM after every validation."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch

from covidct.atomic import atomic_path
from covidct.callbacks.grad_cam_scale import require_classifier
from covidct.errors import UsageError
from covidct.explain import GradCAM, explained_classes, overlay
from covidct.labels import NEGATIVE_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from covidct.sample import Batch
    from covidct.tasks import ClassificationTask

__all__ = ("GradCAMCases",)

_log = logging.getLogger(__name__)


class GradCAMCases(pl.Callback):
    """Log pictures of a fixed set of validation scans: slices above, the same with Grad-CAM below.

    The first scans of each class in the order of the validation loader, known after the first validation, are shown
    after every one. They are drawn in the fixed scale of the task: put :class:`GradCAMScale` beside this callback.
    A diseased scan shows the map of its own class, others that of the most probable disease.

    Pictures go to the loggers that take images (TensorBoard, Weights & Biases) as ``grad_cam/<number>_<class>``, and
    without one into the run's folder as ``grad_cam/epoch-<number>/<number>_<class>.png``. In a distributed run the
    first process logs scans of its own share.

    Args:
        cases_per_class: scans of each class.
        slices: slices of a volume, evenly spaced through the lungs.
        every_n_epochs: validations of other epochs are passed over; counted from 1, as by Lightning's callbacks.

    Raises:
        UsageError: when a number is not positive, or the task is no classifier.
    """

    def __init__(self, *, cases_per_class: int = 1, slices: int = 4, every_n_epochs: int = 1) -> None:
        """Check the numbers."""
        numbers = {"cases_per_class": cases_per_class, "slices": slices, "every_n_epochs": every_n_epochs}
        for name, value in numbers.items():
            if type(value) is not int or value < 1:
                raise UsageError(f"{name}={value!r} must be a whole number of at least 1.")
        self.cases_per_class, self.slices, self.every_n_epochs = cases_per_class, slices, every_n_epochs
        self._cases: list[Batch] = []
        self._chosen = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what has no classes; choose the scans anew."""
        require_classifier(pl_module)
        self._cases, self._chosen = [], False

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Choose scans in the first validation."""
        if self._chosen or trainer.sanity_checking or not trainer.is_global_zero:
            return
        have = [int(case["label"]) for case in self._cases]
        for index, label in enumerate(batch["label"].tolist()):
            if label >= 0 and have.count(label) < self.cases_per_class:
                have.append(label)
                self._cases.append(_one(batch, index))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw and log."""
        folder = trainer.log_dir or trainer.default_root_dir  # asks all processes
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        self._chosen = True
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        task = require_classifier(pl_module)
        if not bool(task.cam_scale.any()):
            _log.warning(
                "The cases have no Grad-CAM, since the task has no fixed scale: add the callback GradCAMScale; where "
                "it is there, no training scan has a map above 0."
            )
            return
        self._cases.sort(key=lambda case: int(case["label"]))
        for number, case in enumerate(self._cases):
            with trainer.precision_plugin.forward_context():
                picture = self._picture(task, trainer.precision_plugin.convert_input(case))
            name = re.sub(r"\W+", "-", task.class_names[int(case["label"])])
            if picture is not None:
                _log_picture(trainer, f"{number}_{name}", picture, Path(folder))

    def _picture(self, task: ClassificationTask, case: Batch) -> NDArray[np.uint8] | None:
        """(2 H, n W, 3) uint8; None where the class to explain has no scale."""
        names = task.class_names
        label = int(case["label"])
        explain = GradCAM(task)
        found = explain(case, label)
        if names[label] in NEGATIVE_CLASSES:
            found = explain(case, explained_classes(found.logits, names))
        scale = float(task.cam_scale[found.target])
        if scale == 0:
            return None
        maps = found.maps[0].cpu().numpy()
        image = case["image"][0, 0].float().cpu().numpy()
        planes = self._planes(case) if image.ndim == 3 else [()]
        grey = [np.rint(255 * np.repeat(image[plane][..., None], 3, -1)).astype(np.uint8) for plane in planes]
        hot = [overlay(image[plane], maps[plane], scale) for plane in planes]
        return np.concatenate([np.concatenate(grey, 1), np.concatenate(hot, 1)])

    def _planes(self, case: Batch) -> Sequence[tuple[int]]:
        """Indices of slices, evenly spaced through the lungs, or through the real slices without a mask."""
        depth = case["image"].shape[2]
        real = case["slice_mask"][0].cpu().numpy() if "slice_mask" in case else np.ones(depth, bool)
        if "lung_mask" in case and bool(case["lung_mask"].any()):
            real = real & (case["lung_mask"][0, 0] > 0).flatten(1).any(1).cpu().numpy()
        found = np.flatnonzero(real)
        count = min(self.slices, len(found))
        return [(int(found[(2 * number + 1) * len(found) // (2 * count)]),) for number in range(count)]


def _one(batch: Batch, index: int) -> Batch:
    """One sample of a batch as a batch on the CPU, apart from the memory of the others."""
    return {
        key: value[index : index + 1].cpu().clone() if isinstance(value, torch.Tensor) else value[index : index + 1]
        for key, value in batch.items()
    }


def _log_picture(trainer: pl.Trainer, name: str, picture: NDArray[np.uint8], folder: Path) -> None:
    """Give a picture (H, W, 3) to the loggers that take it, else write a file."""
    taken = list(_image_loggers(trainer))
    for kind, logger in taken:
        if kind == "tensorboard":
            logger.experiment.add_image(f"grad_cam/{name}", picture, trainer.global_step, dataformats="HWC")
        else:
            logger.log_image(f"grad_cam/{name}", [picture], step=trainer.global_step)
    if not taken:
        _, data = cv2.imencode(".png", picture[..., ::-1])
        with atomic_path(folder / "grad_cam" / f"epoch-{trainer.current_epoch:03d}" / f"{name}.png") as temporary:
            temporary.write_bytes(data.tobytes())


def _image_loggers(trainer: pl.Trainer) -> Iterator[tuple[str, Any]]:
    """The loggers that take images, with their kind."""
    from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            yield "tensorboard", logger
        elif isinstance(logger, WandbLogger):
            yield "wandb", logger
