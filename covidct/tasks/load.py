"""``load_task``: from a checkpoint to the task that wrote it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.errors import CheckpointError
from covidct.tasks.base import BaseTask
from covidct.weights import RECORD_KEY, load_checkpoint, load_state

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import torch

__all__ = ("build_task", "load_task")


def load_task(path: str | os.PathLike[str], map_location: str | torch.device = "cpu") -> BaseTask:
    """Rebuild a trained task, ready to predict; needs the checkpoint alone, no weights and no network connection.

    The class is looked up by name among covidct's tasks and the subclasses of :class:`BaseTask` that are imported
    already; nothing that the file names is ever imported.

    Args:
        path: a ``.ckpt`` file.
        map_location: where the task shall live.

    Returns:
        The task in evaluation mode, with ``preprocessing`` as in the training. Call ``.train()`` before fitting it
        further.

    Raises:
        CheckpointError: when the file is damaged, holds pickled objects, or belongs to no known task.
    """
    name = Path(path).name
    checkpoint = load_checkpoint(path)
    task = _new_task(checkpoint[RECORD_KEY], checkpoint["hyper_parameters"], source=name)
    task.on_load_checkpoint(checkpoint)
    load_state(task, checkpoint["state_dict"], source=name, error=CheckpointError)
    return task.to(map_location).eval()


def build_task(record: Mapping[str, Any], parameters: Mapping[str, Any], *, source: str) -> BaseTask:
    """Rebuild a task without its weights.

    Args:
        record: as :meth:`BaseTask.on_save_checkpoint` writes it.
        parameters: hyper-parameters of the task.
        source: where they come from, for messages.

    Returns:
        The task with random weights, and ``preprocessing`` as recorded.

    Raises:
        CheckpointError: as :func:`load_task`.
    """
    task = _new_task(record, parameters, source=source)
    task.on_load_checkpoint({RECORD_KEY: dict(record), "state_dict": {}})
    return task


def _new_task(record: Mapping[str, Any], parameters: Mapping[str, Any], *, source: str) -> BaseTask:
    """The task that a record names, with random weights."""
    task_class = _task_class(str(record.get("task")), source)
    known = {key: value for key, value in parameters.items() if not str(key).startswith("_")}
    unknown = known.keys() - inspect.signature(task_class).parameters.keys()
    if unknown:
        raise CheckpointError(
            f"{source} has hyper-parameters that {task_class.__name__} does not know ({', '.join(sorted(unknown))}): "
            "it was written by another release of covidct; use that one, or train again."
        )
    try:
        return task_class(**known)
    except (TypeError, ValueError, RuntimeError) as error:  # UsageError is a ValueError
        raise CheckpointError(f"The hyper-parameters in {source} are damaged ({error}): train again.") from error


def _task_class(wanted: str, file: str) -> type[BaseTask]:
    """The task of that name."""
    from covidct import tasks

    for public in tasks.__all__:
        getattr(tasks, public)  # imports it, so that it is among the subclasses
    known = {cls.__name__: cls for cls in _subclasses(BaseTask) if not inspect.isabstract(cls)}
    if wanted not in known:
        raise CheckpointError(
            f"{file} belongs to the task {wanted}, which is unknown here (known: {', '.join(sorted(known))}): import "
            "the module that defines it first, or use the release of covidct that wrote the file."
        )
    return known[wanted]


def _subclasses(cls: type[Any]) -> list[type[Any]]:
    """All subclasses, the library's own last, so that they win over others of the same name."""
    found = [deeper for sub in cls.__subclasses__() for deeper in (sub, *_subclasses(sub))]
    return sorted(found, key=lambda sub: sub.__module__.startswith("covidct."))
