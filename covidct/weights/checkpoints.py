"""Training checkpoints, and trained files of other projects."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from covidct.errors import CheckpointError, WeightsError
from covidct.legacy_torch import without_class_sources
from covidct.weights.digest import require_file
from covidct.weights.tensors import RECORD_KEY
from covidct.weights.torch_files import torch_load

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ("load_checkpoint", "load_foreign")


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a training checkpoint that a covidct task wrote.

    Args:
        path: a ``.ckpt`` file.

    Returns:
        The checkpoint with CPU tensors, mapped from disk where the file allows it: copy what outlives the file.

    Raises:
        CheckpointError: when the file is missing, damaged, holds pickled objects, or no covidct task wrote it.
    """
    path = Path(path)
    require_file(path, CheckpointError)
    try:
        return _require_record(torch_load(path, CheckpointError), path)
    except CheckpointError as error:
        if path.suffix.lower() != ".pth":
            raise
        raise CheckpointError(
            f"{path.name} is no checkpoint of a covidct task: give a .ckpt file; a .pth file of COVID-CT-Mask-Net's "
            "author becomes one by `covidct convert`."
        ) from error


def load_foreign(path: str | os.PathLike[str], *, stand_ins: Mapping[str, type]) -> Any:  # noqa: ANN401
    """Read a file of another project that holds, beside tensors and plain data, objects of a few known classes.

    The unpickler still runs nothing: each class on the list is replaced by a stand-in of ours, which takes the object's
    attributes and has no behaviour, and any other class is refused.

    Args:
        path: a ``.pth`` file.
        stand_ins: full name of each class that the file may name (``"module.Class"``) to the class used instead.

    Returns:
        What the file holds, tensors on the CPU.

    Raises:
        WeightsError: when the file is missing or damaged, or names another class.
    """
    path = Path(path)
    require_file(path, WeightsError)
    with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
        if zipfile.is_zipfile(path):
            return torch_load(path, WeightsError)
        return torch_load(path, WeightsError, io.BytesIO(without_class_sources(path.read_bytes())))


def _require_record(checkpoint: Any, path: Path) -> dict[str, Any]:  # noqa: ANN401
    """Refuse what no covidct task wrote."""
    parts = ("state_dict", "hyper_parameters", RECORD_KEY)
    if not isinstance(checkpoint, dict) or not all(isinstance(checkpoint.get(part), dict) for part in parts):
        raise CheckpointError(
            f"{path.name} is no checkpoint of a covidct task (it lacks one of {', '.join(parts)}): "
            "give a .ckpt file that `covidct fit` or `covidct demo` wrote."
        )
    return checkpoint
