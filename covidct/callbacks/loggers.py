"""Numbers, tables and pictures to the loggers of a trainer, each in the way that it takes them; rank 0 calls this."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2

from covidct.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pytorch_lightning as pl
    from numpy import uint8
    from numpy.typing import NDArray

__all__ = ("log_numbers", "log_picture", "log_table", "write_picture")


def log_numbers(trainer: pl.Trainer, values: Mapping[str, float]) -> None:
    """Give numbers to every logger; those that are not defined (NaN) are left out.

    Args:
        trainer: of the run.
        values: by name.
    """
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    for logger in trainer.loggers:
        logger.log_metrics(known, step=trainer.global_step)


def log_picture(trainer: pl.Trainer, name: str, picture: NDArray[uint8]) -> bool:
    """Give a picture to the loggers that take one: TensorBoard, Weights & Biases, MLflow.

    Args:
        trainer: of the run.
        name: with slashes as in a path.
        picture: (H, W, 3) red, green, blue.

    Returns:
        Whether any logger took it.
    """
    from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

    taken, step = False, trainer.global_step
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [picture], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, picture, f"{name}-step-{step:06d}.png")
        else:
            continue
        taken = True
    return taken


def log_table(trainer: pl.Trainer, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Give a table to the loggers that take one: TensorBoard (as text), Weights & Biases, MLflow.

    Args:
        trainer: of the run.
        name: with slashes as in a path.
        rows: at least one, all with the same columns; NaN is an empty cell.
    """
    from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

    columns, step = list(rows[0]), trainer.global_step
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(name, _markdown(columns, cells), step)
        elif isinstance(logger, WandbLogger):
            logger.log_table(name, columns=columns, data=cells, step=step)
        elif isinstance(logger, MLFlowLogger):
            data = {column: [row[place] for row in cells] for place, column in enumerate(columns)}
            logger.experiment.log_table(logger.run_id, data, f"{name}-step-{step:06d}.json")


def write_picture(path: Path, picture: NDArray[uint8]) -> None:
    """Write a picture (H, W, 3) red, green, blue as PNG, whole or not at all."""
    _, data = cv2.imencode(".png", picture[..., ::-1])
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _cell(value: object) -> object:
    """None for a number that is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _markdown(columns: Sequence[str], cells: Sequence[Sequence[object]]) -> str:
    """A table as TensorBoard shows it."""
    shown = [
        ["" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value) for value in row]
        for row in cells
    ]
    lines = [list(columns), ["---"] * len(columns), *shown]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
