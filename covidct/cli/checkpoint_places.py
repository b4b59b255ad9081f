"""Where ``--ckpt_path=auto`` looks: where a training with the same options leaves its checkpoints."""

from __future__ import annotations

from pathlib import Path
from pydoc import locate
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from covidct.callbacks.checkpoints import FOLDER
from covidct.callbacks.run_folder import RUNS

if TYPE_CHECKING:
    from jsonargparse import Namespace

__all__ = ("checkpoint_places",)


def checkpoint_places(trainer: Namespace, *, goes_on: bool) -> tuple[Path, ...]:
    """Folders of runs, as :func:`covidct.callbacks.run_folder.run_folder` makes them.

    Args:
        trainer: parsed arguments of the trainer.
        goes_on: look for a training to go on with, which has the same options. Else look for one to apply, which may
            have had another logger than the command that applies it.

    Returns:
        The ``folder`` of ``Checkpoints``, where there is one; else ``default_root_dir``, where it is given, and the
        folder of the first logger.
    """
    given = [Path(folder) for folder in _folders(trainer.callbacks)]
    if given and goes_on:
        return tuple(given)
    root = None if trainer.default_root_dir is None else Path(trainer.default_root_dir).expanduser()
    roots = [] if root is None else [root]
    return tuple(dict.fromkeys([*given, *roots, *_of_logger(trainer.logger, root, goes_on=goes_on)]))


def _folders(callbacks: Any) -> list[str]:  # noqa: ANN401  (one callback, several, or None)
    """What callbacks are told of a folder for checkpoints: ``Checkpoints``, and ``ModelCheckpoint`` of Lightning."""
    several = callbacks if isinstance(callbacks, list) else [callbacks] if callbacks else []
    options = [one.get("init_args") or {} for one in several]
    found = [option.get("folder") or option.get("dirpath") for option in options]
    return [folder for folder in found if folder]


def _of_logger(logger: Any, root: Path | None, *, goes_on: bool) -> list[Path]:  # noqa: ANN401  (as Lightning has it)
    """Where the runs of the first logger are, unless they are below ``root``."""
    first = logger[0] if isinstance(logger, list) and logger else logger
    if not hasattr(first, "class_path"):
        here = [Path(RUNS), Path(FOLDER)] if not goes_on else [Path(FOLDER if first is False else RUNS)]
        return here if root is None else []
    options = first.get("init_args") or {}
    folder = Path(options.get("dir") or options.get("save_dir") or root or ".")
    kind = locate(first.class_path)
    if isinstance(kind, type) and issubclass(kind, CSVLogger | TensorBoardLogger):
        return [folder / (options.get("name") or "")]
    return [folder / RUNS, *([Path(RUNS)] if root is None else [])]  # the second: loggers that keep no files
