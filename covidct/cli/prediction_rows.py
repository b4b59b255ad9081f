"""``predict_rows``: the predictions of a loader as rows of a table, without keeping their masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from covidct.sample import Batch
    from covidct.tasks import BaseTask

__all__ = ("PredictionRows", "predict_rows")


class PredictionRows(pl.Callback):
    """Collects rows of predicted batches; a subclass adds them in ``on_predict_batch_end``.

    Attributes:
        rows: one per scan or slice.

    Args:
        scored: compare with the truth in the batch.
    """

    def __init__(self, *, scored: bool) -> None:
        """Start without rows."""
        self.scored = scored
        self.rows: list[dict[str, Any]] = []


def predict_rows(
    trainer: pl.Trainer, task: BaseTask, loader: Iterable[Batch], collect: PredictionRows
) -> list[dict[str, Any]]:
    """Predict the batches of a loader on the trainer's device.

    Args:
        trainer: of one process.
        task: the trained task.
        loader: batches; with the task's target where ``collect`` compares.
        collect: makes the rows.

    Returns:
        The rows of ``collect``.

    Raises:
        UsageError: with several processes, each of which would see a part.
    """
    if trainer.world_size > 1:
        raise UsageError("Tables of predictions are written by one process: use --trainer.devices=1.")
    trainer.callbacks.append(collect)  # type: ignore[attr-defined]
    trainer.predict(task, dataloaders=loader, return_predictions=False)
    return collect.rows
