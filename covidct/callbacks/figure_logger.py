"""``FigureLogger``: pictures of the same few cases after every validation."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from covidct.callbacks.case_pictures import attention_picture, grad_cam_picture, lesion_picture, lung_picture
from covidct.callbacks.checkpoints import is_trial
from covidct.callbacks.loggers import log_picture, write_picture
from covidct.callbacks.run_folder import run_folder
from covidct.errors import UsageError
from covidct.tasks import ClassificationTask, DetectionTask, SegmentationTask, SliceSegmentationTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy import uint8
    from numpy.typing import NDArray

    from covidct.sample import Batch
    from covidct.tasks import BaseTask

__all__ = ("FigureLogger",)

_log = logging.getLogger(__name__)


class FigureLogger(pl.Callback):
    """Log pictures of a fixed set of validation cases: what the network sees in them, validation after validation.

    The kinds of pictures follow from the task:

    * ``grad_cam``: of a classifier that names its last feature map, slices above, the same with Grad-CAM below, in the
      fixed scale of the task: put :class:`GradCAMScale` beside this callback. A diseased scan shows the map of its own
      class, others that of the most probable disease.
    * ``attention``: of a network with slice attention, slices above, below them what attention leaves of each, and a
      strip of the shares of all slices from feet to head.
    * ``lesions``: of a lesion detector, a slice with its true lesions and with those found.
    * ``lungs``: of a network that segments lungs, slices with the true outlines above and those found below.

    The first cases of each class in the order of the validation loader (of a detector with lesions and without), known
    after the first validation, are shown after every one. Pictures go to the loggers that take them (TensorBoard,
    Weights & Biases, MLflow) as ``<kind>/<number>_<class>``, and without one into the run's folder as
    ``figures/epoch-<number>/<kind>/<number>_<class>.png``. In a distributed run the first process draws cases of its
    own share.

    Args:
        cases_per_class: cases of each class.
        slices: slices of a volume, evenly spaced through the lungs.
        every_n_epochs: validations of other epochs are passed over; counted from 1, as by Lightning's callbacks.

    Raises:
        UsageError: when a number is not positive, or nothing of the task can be drawn.
    """

    def __init__(self, *, cases_per_class: int = 1, slices: int = 4, every_n_epochs: int = 1) -> None:
        """Check the numbers."""
        numbers = {"cases_per_class": cases_per_class, "slices": slices, "every_n_epochs": every_n_epochs}
        for name, value in numbers.items():
            if type(value) is not int or value < 1:
                raise UsageError(f"{name}={value!r} must be a whole number of at least 1.")
        self.cases_per_class, self.slices, self.every_n_epochs = cases_per_class, slices, every_n_epochs
        self._cases: list[tuple[int, Batch]] = []
        self._chosen = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what has no pictures; choose the cases anew."""
        _kinds(pl_module)
        self._cases, self._chosen = [], False

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401  (Lightning's hook)
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Choose cases in the first validation."""
        if self._chosen or trainer.sanity_checking or not trainer.is_global_zero:
            return
        have = [group for group, _ in self._cases]
        for index, group in enumerate(_groups(pl_module, batch)):
            if group >= 0 and have.count(group) < self.cases_per_class:
                have.append(group)
                self._cases.append((group, _one(batch, index)))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw and log."""
        folder = run_folder(trainer)  # asks all processes
        if trainer.sanity_checking or not trainer.is_global_zero or is_trial(trainer):
            return
        self._chosen = True
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        kinds = _kinds(pl_module)
        if isinstance(pl_module, ClassificationTask) and "grad_cam" in kinds and not bool(pl_module.cam_scale.any()):
            kinds.remove("grad_cam")
            _log.warning(
                "The cases have no Grad-CAM, since the task has no fixed scale: add the callback GradCAMScale; where "
                "it is there, no training scan has a map above 0."
            )
        self._cases.sort(key=lambda case: case[0])
        for number, (group, case) in enumerate(self._cases):
            with trainer.precision_plugin.forward_context():
                drawn = list(self._pictures(pl_module, trainer.precision_plugin.convert_input(case), kinds))
            for kind, picture in drawn:
                name = f"{number}_{_name(pl_module, group)}"
                if not log_picture(trainer, f"{kind}/{name}", picture):
                    epoch = f"epoch-{trainer.current_epoch:03d}"
                    write_picture(folder / "figures" / epoch / kind / f"{name}.png", picture)

    def _pictures(self, task: Any, case: Batch, kinds: list[str]) -> Iterator[tuple[str, NDArray[uint8]]]:  # noqa: ANN401
        """Kind and picture."""
        if "grad_cam" in kinds:
            picture = grad_cam_picture(task, case, slices=self.slices)
            if picture is not None:
                yield "grad_cam", picture
        if "attention" in kinds:
            yield "attention", attention_picture(task, case, slices=self.slices)
        if "lesions" in kinds:
            yield "lesions", lesion_picture(task, case)
        if "lungs" in kinds:
            yield "lungs", lung_picture(task, case, slices=self.slices)


def _kinds(task: pl.LightningModule | BaseTask) -> list[str]:
    """What can be drawn of a task.

    Raises:
        UsageError: when that is nothing.
    """
    network = getattr(task, "model", None)
    classifies = isinstance(task, ClassificationTask)
    asked = {
        "grad_cam": classifies and bool(getattr(network, "cam_layer", "")),
        "attention": classifies and bool(getattr(network, "uses_attention", False)),
        "lesions": isinstance(task, DetectionTask),
        "lungs": isinstance(task, SegmentationTask | SliceSegmentationTask),
    }
    kinds = [kind for kind, there in asked.items() if there]
    if not kinds:
        raise UsageError(
            f"FigureLogger has no pictures of {type(task).__name__}, which has neither Grad-CAM, slice attention, "
            "lesions nor lungs: leave the callback out."
        )
    return kinds


def _groups(task: pl.LightningModule, batch: Batch) -> list[int]:
    """Of what kind each case of a batch is: class, or whether there are lesions."""
    if isinstance(task, ClassificationTask):
        labels: list[int] = batch["label"].tolist()
        return labels
    if isinstance(task, DetectionTask):
        return [int(len(one["labels"]) > 0) for one in batch["instances"]]
    return [0] * len(batch["id"])


def _name(task: pl.LightningModule, group: int) -> str:
    """A kind of case as a part of a name."""
    if isinstance(task, ClassificationTask):
        return re.sub(r"\W+", "-", task.class_names[group])
    return ("none", "lesions")[group] if isinstance(task, DetectionTask) else "lungs"


def _one(batch: Batch, index: int) -> Batch:
    """One sample of a batch as a batch on the CPU, apart from the memory of the others."""
    return {key: _apart(value[index : index + 1]) for key, value in batch.items()}


def _apart(value: Any) -> Any:  # noqa: ANN401  (what a batch holds)
    """A copy of tensors, also those in lists and dicts."""
    if isinstance(value, torch.Tensor):
        return value.cpu().clone()
    if isinstance(value, dict):
        return {key: _apart(one) for key, one in value.items()}
    return [_apart(one) for one in value] if isinstance(value, list) else value
