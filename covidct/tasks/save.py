"""``save_task``: a task that no trainer holds, as a checkpoint like that of its training."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from covidct.atomic import atomic_path
from covidct.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from covidct.tasks.base import BaseTask

__all__ = ("save_task",)


def save_task(task: BaseTask, path: str | os.PathLike[str]) -> None:
    """Write a task as its training would, whole or not at all.

    Args:
        task: with the pre-processing that its checkpoint shall record.
        path: a ``.ckpt`` file; its folder is made when absent.

    Raises:
        UsageError: when the file is called otherwise.
    """
    path = Path(path)
    if path.suffix != ".ckpt":
        raise UsageError(f"{path} cannot be the checkpoint: give it a name with the end .ckpt.")
    options: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    with _without_device_table():
        trainer = pl.Trainer(accelerator="cpu", devices=1, **options)
    trainer.strategy.connect(task)
    with atomic_path(path) as temporary:
        trainer.save_checkpoint(temporary, weights_only=True)


@contextmanager
def _without_device_table() -> Iterator[None]:
    """Keep Lightning from telling of devices that nobody asks for; its logger is as before afterwards."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".PU available but not used")
            yield
    finally:
        logger.setLevel(level)
