"""``GradCAMScale``: the fixed scale of Grad-CAM, found on training positives before a checkpoint is written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl

from covidct.datamodules import BaseDataModule
from covidct.errors import UsageError
from covidct.explain import GradCAM, maximum_on_positives
from covidct.sample import collate
from covidct.tasks import ClassificationTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from covidct.sample import Batch

__all__ = ("GradCAMScale", "require_classifier")

_log = logging.getLogger(__name__)


class GradCAMScale(pl.Callback):
    """Keep the scale of Grad-CAM in every checkpoint that is written after a validation or an epoch.

    At the end of each validation of a fit, and of each training epoch without one, the largest value of each class's
    map over a few training scans of that class goes into ``task.cam_scale``. Lightning calls ``ModelCheckpoint`` after
    all other callbacks, so the checkpoint has the scale of its own weights. The scans are the same in every epoch, not
    augmented, and shared among the processes, which agree on the maximum. See :func:`covidct.explain.calibrate`.

    Args:
        scans_per_class: how many training scans of each class to use (recommendation: 8; each costs one inference per
            epoch).

    Raises:
        UsageError: when that is no positive whole number, or the task is no classifier.
    """

    def __init__(self, *, scans_per_class: int = 8) -> None:
        """Check the number."""
        if type(scans_per_class) is not int or scans_per_class < 1:
            raise UsageError(f"scans_per_class={scans_per_class!r} must be a whole number of at least 1.")
        self.scans_per_class = scans_per_class

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse what has no scale; say once that plain loaders are not enough."""
        require_classifier(pl_module)
        if stage == "fit" and not isinstance(_data(trainer), BaseDataModule):
            _log.warning(
                "Grad-CAM gets no fixed scale: its callback takes training scans from a data module of covidct; use "
                "explain.calibrate after the training."
            )

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the scale of the weights of the moment."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._calibrate(trainer, require_classifier(pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the scale after an epoch that ended without a validation."""
        task = require_classifier(pl_module)
        if not bool(task.cam_scale.any()):
            self._calibrate(trainer, task)

    def _calibrate(self, trainer: pl.Trainer, task: ClassificationTask) -> None:
        """Fill ``cam_scale`` with the maximum over all processes."""
        data = _data(trainer)
        if not isinstance(data, BaseDataModule):
            return
        batches = self._batches(data, trainer.global_rank, trainer.world_size, trainer.precision_plugin)
        with trainer.precision_plugin.forward_context():
            found = maximum_on_positives(GradCAM(task), batches, classes=len(task.cam_scale))
        everywhere = trainer.strategy.all_gather(found.to(task.device))
        task.cam_scale.copy_(everywhere.reshape(-1, len(found)).amax(0))

    def _batches(self, data: BaseDataModule, rank: int, world: int, precision: Any) -> Iterator[Batch]:  # noqa: ANN401
        """This process's share of the scans, one by one."""
        samples = data.samples("train")
        labels = np.array([record.label for record in data.records("train")])
        chosen = [index for label in range(len(data.class_names)) for index in self._spread(labels == label)]
        for index in chosen[rank::world]:
            yield precision.convert_input(collate([samples[index]]))

    def _spread(self, wanted: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[int]:
        """Evenly spaced indices of the scans wanted."""
        found = np.flatnonzero(wanted)
        count = min(self.scans_per_class, len(found))
        return [int(found[(2 * number + 1) * len(found) // (2 * count)]) for number in range(count)]


def _data(trainer: pl.Trainer) -> object:
    """The data module of a trainer, None for plain loaders."""
    return getattr(trainer, "datamodule", None)


def require_classifier(task: pl.LightningModule) -> ClassificationTask:
    """The task, when Grad-CAM has classes to explain."""
    if not isinstance(task, ClassificationTask):
        raise UsageError(f"Grad-CAM explains classes, {type(task).__name__} gives none: leave the callback out.")
    return task
