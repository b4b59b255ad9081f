"""Who a pre-training saw: its subjects must be none of those that judge what begins with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from covidct.errors import UsageError
from covidct.models.contrastive_weights import is_checkpoint
from covidct.weights import load_checkpoint, weights_path

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("SUBJECTS_KEY", "pretrained_subjects", "require_unseen", "subjects_of")

SUBJECTS_KEY = "covidct_subjects"
"""Key of the hashes in the checkpoint of a contrastive pre-training."""


def subjects_of(data: Any, *parts: str) -> Tensor:  # noqa: ANN401  (tasks do not import data modules)
    """Subjects of parts of a data module.

    Args:
        data: of the library, after its ``setup``; of any other one, and of None, nothing is known.
        parts: ``"train"``, ``"val"``, ``"test"``.

    Returns:
        (n,) int64, their hashes, ascending.
    """
    find = getattr(getattr(data, "dataset", None), "subject_hash", None)
    found = set() if find is None else {find(record) for part in parts for record in data.records(part)}
    return torch.tensor(sorted(found), dtype=torch.int64)


def pretrained_subjects(weights: str) -> Tensor:
    """Hashes of the subjects that weights were pre-trained on: (n,) int64, none unless a checkpoint tells.

    Raises:
        CheckpointError: when a checkpoint is damaged, or no task of covidct wrote it.
    """
    weights = weights_path(weights)
    none = torch.empty(0, dtype=torch.int64)
    found: Tensor = load_checkpoint(weights).get(SUBJECTS_KEY, none) if is_checkpoint(weights) else none
    return found.clone()  # not mapped from the file


def require_unseen(weights: str, data: Any) -> None:  # noqa: ANN401
    """Refuse weights that were pre-trained on subjects of the validation or test part.

    Args:
        weights: what a training starts from.
        data: its data module, as in :func:`subjects_of`.

    Raises:
        CheckpointError: as :func:`pretrained_subjects`.
        UsageError: counts the subjects.
    """
    seen = int(torch.isin(subjects_of(data, "val", "test"), pretrained_subjects(weights)).sum())
    if seen:
        raise UsageError(
            f"{Path(weights).name} was pre-trained on {seen} subject(s) of the validation and test parts, whose scores "
            "would be too good to be true: give both trainings one split by subject and pre-train again."
        )
