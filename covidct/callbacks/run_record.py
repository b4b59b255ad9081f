"""What a run is made of, as plain values that name nobody and no place: for ``run.json``."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import torch

from covidct.datasets import BaseDataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytorch_lightning as pl

__all__ = ("dataset_record", "optimizer_records", "trainer_record", "transform_record")

_DEEP = 6  # transforms within transforms that are looked into
_FREE_TEXT = re.compile(r"\b(str|Any|object)\b|Path")  # annotations of arguments that may name a patient or a place
_ABSENT = object()


def trainer_record(trainer: pl.Trainer) -> dict[str, Any]:
    """Arguments of the trainer that change what is computed.

    Args:
        trainer: of the run.
    """
    names = (
        "max_epochs",
        "max_steps",
        "accumulate_grad_batches",
        "gradient_clip_val",
        "gradient_clip_algorithm",
        "limit_train_batches",
        "limit_val_batches",
        "val_check_interval",
        "check_val_every_n_epoch",
        "num_nodes",
    )
    return {
        **_plain_entries({name: getattr(trainer, name, None) for name in names}, words=True),
        "strategy": type(trainer.strategy).__name__,
        "sync_batchnorm": getattr(trainer.strategy, "_layer_sync", None) is not None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "callbacks": [type(callback).__name__ for callback in getattr(trainer, "callbacks", ())],
    }


def optimizer_records(trainer: pl.Trainer) -> dict[str, Any]:
    """Optimizers with the options of each group of parameters, and schedules with their state, as they begin.

    Args:
        trainer: whose strategy is set up.
    """
    return {
        "optimizers": [
            {
                "name": type(optimizer).__name__,
                "groups": [
                    _plain_entries({key: value for key, value in group.items() if key != "params"})
                    for group in optimizer.param_groups
                ],
            }
            for optimizer in trainer.optimizers
        ],
        "schedulers": [
            {
                "name": type(config.scheduler).__name__,
                "interval": config.interval,
                "frequency": config.frequency,
                "monitor": config.monitor,
                **_plain_entries(config.scheduler.state_dict()),
            }
            for config in trainer.lr_scheduler_configs
        ],
    }


def dataset_record(dataset: BaseDataset) -> dict[str, Any]:
    """Class and arguments of a data set; those that may hold a path or a name are left out.

    Args:
        dataset: of covidct, or one of the user's own, whose words are left out as well.
    """
    closed = type(dataset).__module__.startswith("covidct.")
    found: dict[str, Any] = {"name": type(dataset).__name__}
    for name, parameter in inspect.signature(type(dataset).__init__).parameters.items():
        value = getattr(dataset, name, _ABSENT)
        inner = value if isinstance(value, list | tuple) else (value,)
        if inner and all(isinstance(one, BaseDataset) for one in inner):
            found[name] = [dataset_record(one) for one in inner]
        elif not _FREE_TEXT.search(str(parameter.annotation)):
            found |= _plain_entries({name: value}, words=closed)
    return found


def transform_record(transform: object) -> dict[str, Any] | None:
    """Class and numbers of a transform and of those within it; None of none.

    Args:
        transform: :class:`covidct.transforms.Augment`, of torchvision, of MONAI, or of the user.
    """
    return None if transform is None else _transform(transform, _DEEP)


def _transform(transform: object, deep: int) -> dict[str, Any]:
    if inspect.isroutine(transform):
        return {"name": getattr(transform, "__name__", "function")}
    parts = {**vars(transform), **getattr(transform, "_modules", {})}
    public = {name: value for name, value in parts.items() if not name.startswith("_") and name != "training"}
    found = {"name": type(transform).__name__, **_plain_entries(public)}
    for name, value in public.items():
        inner = [one for one in (value if isinstance(value, list | tuple) else (value,)) if _is_transform(one)]
        if inner and deep:
            found[name] = [_transform(one, deep - 1) for one in inner]
    return found


def _is_transform(value: object) -> bool:
    """Whether it is called with samples."""
    return callable(value) and hasattr(value, "__dict__") and not inspect.isclass(value)


def _plain_entries(values: Mapping[str, Any], *, words: bool = False) -> dict[str, Any]:
    """The entries that JSON has: numbers, truth values, None, lists of these, and words where they are asked for."""
    plain = {str(name): _plain(value, words=words) for name, value in values.items()}
    return {name: value for name, value in plain.items() if value is not _ABSENT}


def _plain(value: Any, *, words: bool) -> Any:  # noqa: ANN401  (any argument)
    """A value as JSON has it; :data:`_ABSENT` of anything else."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    if value is None or isinstance(value, bool | int | float) or (words and isinstance(value, str)):
        return value
    if isinstance(value, list | tuple):
        plain = [_plain(one, words=words) for one in value]
        return _ABSENT if _ABSENT in plain else plain
    return _ABSENT
