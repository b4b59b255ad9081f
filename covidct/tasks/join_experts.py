"""``join_experts``: classifiers trained on either side of the gate, joined to one checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from covidct.errors import CheckpointError, UsageError
from covidct.models.gated_ensemble import check_expert
from covidct.models.stored_network import network_arguments
from covidct.tasks.classification import ClassificationTask
from covidct.tasks.gated_ensemble import GatedEnsembleTask
from covidct.tasks.load import load_task
from covidct.weights import load_state

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from covidct.functional import ContrastSplit
    from covidct.preprocessing import Preprocessing

    Paths = Sequence[str | os.PathLike[str]]

__all__ = ("join_experts",)

_TRAINING_ARGUMENTS = ("folds",)
_TRAINING_PARTS = ("level1_folds.",)  # of the two-level classifier: several times the weights of what is used


def join_experts(
    *,
    low: Paths,
    high: Paths,
    split: ContrastSplit,
    low_weights: Sequence[float] | None = None,
    high_weights: Sequence[float] | None = None,
    fusion: Literal["mean", "vote"] = "mean",
) -> GatedEnsembleTask:
    """Join experts that were trained separately, each on the subjects of its side (document D000, section 3.3.6).

    Args:
        low: checkpoints of classifiers for low contrast, at least one.
        high: checkpoints of classifiers for high contrast.
        split: the line between the sides, of the training subjects
            (:attr:`covidct.datamodules.BaseDataModule.contrast_split`).
        low_weights: of the experts in the fusion, at least 0; None: equal ones.
        high_weights: likewise.
        fusion: how the experts of a side decide together, see :func:`covidct.functional.fuse_probabilities`.

    Returns:
        The ensemble in evaluation mode, with the experts' pre-processing; :func:`covidct.tasks.save_task` writes it.

    Raises:
        CheckpointError: when a file is no checkpoint of a classifier.
        UsageError: when the experts differ in classes or pre-processing, or the weights do not fit.
    """
    experts = {Path(path): _load(path) for path in (*low, *high)}
    common = _common_preprocessing(experts, split)
    tasks = {"low": [experts[Path(path)] for path in low], "high": [experts[Path(path)] for path in high]}
    joined = GatedEnsembleTask(
        low=[_describe(task) for task in tasks["low"]],
        high=[_describe(task) for task in tasks["high"]],
        num_classes=len(common.classes),
        fusion=fusion,
        kind=common.kind,  # type: ignore[arg-type]  # an X-ray has no contrast, which Preprocessing refuses
    )
    for side, weights in (("low", low_weights), ("high", high_weights)):
        for expert, task in zip(joined.model.get_submodule(side).children(), tasks[side], strict=True):
            load_state(expert, _state(task), source=type(task).__name__)
        _set_weights(getattr(joined.model, f"{side}_weights"), weights, side)
    joined.model.threshold.fill_(split.threshold)
    joined.preprocessing = common
    return joined.eval()


def _load(path: str | os.PathLike[str]) -> ClassificationTask:
    """A classifier with a record of its pre-processing."""
    task = load_task(path)
    if not isinstance(task, ClassificationTask) or task.preprocessing is None:
        raise CheckpointError(
            f"{Path(path).name} belongs to {type(task).__name__} and cannot be an expert: give a classifier that was "
            "trained with a data module of covidct."
        )
    return task


def _common_preprocessing(tasks: dict[Path, ClassificationTask], split: ContrastSplit) -> Preprocessing:
    """The pre-processing that all experts share; they need no contrast themselves."""
    records = {path: task.preprocessing for path, task in tasks.items() if task.preprocessing is not None}
    first, *others = [replace(record, contrast=split.measure) for record in records.values()]
    for path, other in zip(list(records)[1:], others, strict=True):
        first.require_same(other, what=f"{path.parent.name}/{path.name}")  # experts may all be called last.ckpt
    return first


def _describe(task: ClassificationTask) -> dict[str, Any]:
    """A network as the ensemble builds it: its name and plain arguments."""
    network = type(task.model)
    check_expert(network.__name__)
    found = network_arguments(network, task.hparams)
    return {
        "name": network.__name__,
        "arguments": {name: value for name, value in found.items() if name not in _TRAINING_ARGUMENTS},
    }


def _state(task: ClassificationTask) -> dict[str, torch.Tensor]:
    """The weights of an expert, without what training alone needs."""
    state = task.model.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(_TRAINING_PARTS)}


def _set_weights(buffer: torch.Tensor, weights: Sequence[float] | None, side: str) -> None:
    """Copy fusion weights, brought to the sum one."""
    if weights is None:
        return
    given = torch.tensor(list(weights), dtype=torch.float32)
    if given.shape != buffer.shape or bool((given < 0).any()) or not float(given.sum()) > 0:
        raise UsageError(
            f"{side}_weights={list(weights)} does not fit {len(buffer)} expert(s): give each a number of at least 0, "
            "one above 0."
        )
    buffer.copy_(given / given.sum())
