"""What a contrastive checkpoint gives to fine-tuning: the query encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.errors import CheckpointError
from covidct.weights import RECORD_KEY, load_checkpoint

if TYPE_CHECKING:
    import os

    from torch import Tensor

__all__ = ("StoredEncoder", "is_checkpoint", "read_contrastive")

_TASK = "SelfTransTask"
_TRUNK, _HEAD = "model.query.trunk.", "model.query.head."


@dataclass(frozen=True, slots=True)
class StoredEncoder:
    """A query encoder out of a checkpoint; the tensors are mapped from the file.

    Attributes:
        backbone: torchvision's name of the network.
        attention: its attention blocks, None without.
        trunk: state of a :class:`covidct.models.Trunk`, with its mean and standard deviation.
        head: state of the projection.
    """

    backbone: str
    attention: str | None
    trunk: dict[str, Tensor]
    head: dict[str, Tensor]


def is_checkpoint(weights: str) -> bool:
    """Whether weights are named by the path of a checkpoint."""
    return Path(weights).suffix == ".ckpt"


def read_contrastive(path: str | os.PathLike[str]) -> StoredEncoder:
    """Read the query encoder of a pre-training.

    Args:
        path: a ``.ckpt`` file of :class:`covidct.tasks.SelfTransTask`.

    Raises:
        CheckpointError: when the file is damaged, or of another task.
    """
    checkpoint = load_checkpoint(path)
    task = checkpoint[RECORD_KEY].get("task")
    if task != _TASK:
        raise CheckpointError(
            f"{Path(path).name} is a checkpoint of {task}, which has no trunk to start from: give one of {_TASK}, or "
            "weights of torchvision."
        )
    state, settings = checkpoint["state_dict"], checkpoint["hyper_parameters"]
    trunk, head = ({k.removeprefix(p): v for k, v in state.items() if k.startswith(p)} for p in (_TRUNK, _HEAD))
    if not {"mean", "std"} <= trunk.keys() or not isinstance(settings.get("backbone"), str):
        raise CheckpointError(f"{Path(path).name} lacks parts of its encoder, it is damaged: train again.")
    return StoredEncoder(settings["backbone"], settings.get("attention"), trunk, head)
