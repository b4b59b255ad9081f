"""One training of a study, and what the trained classifier predicts: nothing is chosen on the way, nothing is left."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.seed import isolate_rng

from covidct.errors import UsageError
from covidct.studies.runs import TestPredictions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from covidct.datamodules import BaseDataModule
    from covidct.tasks.classification import ClassificationTask

__all__ = ("TRAINER", "own_random_state", "predict_cases", "require_one_device", "train_task")

TRAINER: Mapping[str, Any] = {
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "deterministic": "warn",
}
"""Arguments of the trainers of all studies."""


def train_task(
    task: type[ClassificationTask],
    options: Mapping[str, Any],
    data: BaseDataModule,
    *,
    seed: int,
    trainer_options: Mapping[str, Any],
) -> tuple[pl.Trainer, ClassificationTask]:
    """Train from scratch on the training part, to the last epoch.

    Args:
        task: class of the classifier.
        options: its arguments.
        data: prepared by :meth:`covidct.datamodules.BaseDataModule.prepare_data`.
        seed: of the weights.
        trainer_options: all arguments of the trainer, with ``max_epochs``.

    Raises:
        KeyboardInterrupt: when the training was interrupted, which Lightning keeps to itself.
    """
    pl.seed_everything(seed, workers=True, verbose=False)
    classifier = task(**options)
    trainer = pl.Trainer(**trainer_options)
    trainer.fit(classifier, datamodule=data)
    if trainer.interrupted:
        raise KeyboardInterrupt
    return trainer, classifier


def predict_cases(
    task: ClassificationTask,
    loader: Any,  # noqa: ANN401  (a loader of torch, of any samples)
    class_names: tuple[str, ...],
    trainer_options: Mapping[str, Any],
) -> TestPredictions:
    """Predictions for the cases of a loader.

    Args:
        task: a trained classifier.
        loader: of a data module. The loader alone is given to the trainer, since a data module whose scans are
            prepared otherwise than in the training, as some studies want it, would be refused.
        class_names: C names.
        trainer_options: all arguments of the trainer.
    """
    batches = pl.Trainer(**trainer_options).predict(task, dataloaders=loader) or []
    return TestPredictions.join(batches, class_names)


def require_one_device(trainer_options: Mapping[str, Any]) -> None:
    """Refuse several processes, each of which would train, weigh and write a whole system of its own.

    Args:
        trainer_options: arguments of ``pytorch_lightning.Trainer``.

    Raises:
        UsageError: when they may mean more than one device.
    """
    for name in ("devices", "num_nodes"):
        value = trainer_options.get(name, 1)
        one = len(value) == 1 if isinstance(value, list | tuple) else str(value) == "1"
        if not one:
            raise UsageError(
                f"{name}={value!r} of the trainer is not usable: the trainings come one after the other on one device, "
                "so leave it out, or name that device in a list (devices: [1])."
            )


@contextmanager
def own_random_state() -> Iterator[None]:
    """Leave the process's random numbers, and whether its algorithms are deterministic, as they were."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with isolate_rng():
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
