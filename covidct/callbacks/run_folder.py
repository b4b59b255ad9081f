"""The folder that a run leaves its files in: one for each run, wherever a logger tells runs apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

if TYPE_CHECKING:
    import pytorch_lightning as pl

__all__ = ("RUNS", "own_run_folder", "run_folder")

RUNS = "lightning_logs"
"""Folder of the runs of a logger that has no other name for it, as Lightning calls it."""


def run_folder(trainer: pl.Trainer) -> Path:
    """The folder of the run, the same on all processes; all of them call this.

    Args:
        trainer: of the run, whose loggers have begun (from ``setup`` on).

    Returns:
        Of the first logger: TensorBoard's and CSV's own folder of the run; of another one
        ``<save_dir>/lightning_logs/<id of the run>``, since Lightning's ``log_dir`` is there ``save_dir`` for all its
        runs. Without a logger ``default_root_dir``.
    """
    return Path(trainer.strategy.broadcast(str(own_run_folder(trainer))))


def own_run_folder(trainer: pl.Trainer) -> Path:
    """As :func:`run_folder`, of this process alone, which asks no other; that of process 0 counts."""
    logger = trainer.logger
    if logger is None:
        return Path(trainer.default_root_dir)
    if isinstance(logger, CSVLogger | TensorBoardLogger):
        return Path(logger.log_dir)
    version = logger.version
    name = f"version_{version}" if isinstance(version, int) else version
    return Path(logger.save_dir or trainer.default_root_dir) / RUNS / (name or "run")
