"""``AtomicCheckpointIO``: checkpoints that are whole or absent, with the one before kept beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from covidct.atomic import atomic_path
from covidct.errors import UsageError
from covidct.weights import load_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("AtomicCheckpointIO", "previous_path")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name, flushes it to the disk and renames it; reads tensors and plain data.

    Lightning's own writer builds the file in memory and does not flush it, so that a machine that stops may leave a
    file of the right name that is cut short. Here the file of that name is the old one or the new one at any instant,
    and what it replaced stays as ``<name>.previous.ckpt``: where a disk damages a file, there is another one.
    :class:`Checkpoints` puts it into the trainer; ``Trainer(plugins=[AtomicCheckpointIO()])`` does so alone.
    """

    def save_checkpoint(
        self,
        checkpoint: Mapping[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ANN401  (Lightning's signature)
    ) -> None:
        """Write ``checkpoint`` to ``path``.

        Args:
            checkpoint: tensors and plain data.
            path: the file; its folder is made when absent.
            storage_options: none are known.

        Raises:
            UsageError: for storage options.
            OSError: when the disk is full or the folder cannot be written; the old file is still there.
        """
        if storage_options is not None:
            raise UsageError("AtomicCheckpointIO writes local files and knows no storage_options: leave them out.")
        target = Path(path)
        with atomic_path(target) as temporary:
            torch.save(dict(checkpoint), temporary)
            _keep_previous(target)
        _flush_folder(target.parent)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint of a covidct task, tensors on the CPU, whatever the other arguments say.

        Args:
            path: the file.
            map_location: Lightning's; tensors go to the device with the task.
            weights_only: Lightning's; nothing else is ever read.

        Raises:
            CheckpointError: when the file is missing or damaged, or no task of covidct wrote it.
        """
        return load_checkpoint(path)


def previous_path(path: Path) -> Path:
    """Where the file that ``path`` replaced lies: ``last.previous.ckpt`` beside ``last.ckpt``."""
    return path.with_suffix(f".previous{path.suffix}")


def _keep_previous(target: Path) -> None:
    """Give the present file its second name; on file systems without links there is none."""
    if not target.exists():
        return
    kept = previous_path(target)
    passing = kept.with_name(f".tmp-{kept.name}")
    passing.unlink(missing_ok=True)
    try:
        os.link(target, passing)
    except OSError:
        return
    passing.replace(kept)


def _flush_folder(folder: Path) -> None:
    """Bring the new name to the disk, where the system can do that for folders."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)
