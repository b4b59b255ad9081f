"""From records to train, val and test: by the data set's own split, by fractions, or by folds; always by subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from covidct.datasets.splits import assign_folds, assign_splits
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.datasets import Record
    from covidct.datasets.base import Split

__all__ = ("Parts", "divide")


@dataclass(frozen=True, slots=True)
class Parts:
    """How to split.

    Attributes:
        split: ``"manifest"``: the data set's own split; ``"subject"``: by the fractions; ``"auto"``: the data set's
            own where it has one.
        val_fraction: share of the samples for validation.
        test_fraction: share of the samples for the test.
        num_folds: 0, or the number of folds into which all but the test part is divided.
        fold: the fold that is validated on.
        seed: chooses among equally good splits.
    """

    split: Literal["auto", "manifest", "subject"] = "auto"
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    num_folds: int = 0
    fold: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.split not in ("auto", "manifest", "subject"):
            raise UsageError(f"split={self.split!r} is unknown: use 'auto', 'manifest' or 'subject'.")
        if not all(0 <= fraction <= 1 for fraction in (self.val_fraction, self.test_fraction)):
            raise UsageError(
                f"val_fraction={self.val_fraction} and test_fraction={self.test_fraction} must lie between 0 and 1."
            )
        if self.num_folds and not 0 <= self.fold < self.num_folds:
            raise UsageError(f"fold={self.fold} must lie between 0 and num_folds - 1 = {self.num_folds - 1}.")


def divide(records: Sequence[Record], parts: Parts) -> dict[Split, list[Record]]:
    """Split records.

    The data set's own split is taken as it is; where it has no validation part, subjects of its training part make
    one. With folds, the test part (the data set's own, or ``test_fraction``) is set aside first.

    Args:
        records: the samples to divide.
        parts: how.

    Returns:
        The records of each part, in the order given.

    Raises:
        UsageError: when there are too few subjects, or the data set has no split of its own and one is asked for.
    """
    own = bool(records) and all(record.split for record in records)
    if parts.split == "manifest" and not own:
        raise UsageError("The data set has no split of its own: give a split column, or use split='subject'.")
    if parts.split == "subject" or not own:
        fraction = 0.0 if parts.num_folds else parts.val_fraction
        names = assign_splits(
            *_groups(records), val_fraction=fraction, test_fraction=parts.test_fraction, seed=parts.seed
        )
    else:
        names = [record.split or "train" for record in records]
    divided: dict[Split, list[Record]] = {"train": [], "val": [], "test": []}
    for record, name in zip(records, names, strict=True):
        divided[name].append(record)
    if parts.num_folds:
        _take_fold(divided, parts)
    elif divided["train"] and not divided["val"] and parts.val_fraction:  # a cohort may be there for the test alone
        _take_val(divided, parts)
    return divided


def _groups(records: Sequence[Record]) -> tuple[list[str], list[int]]:
    """Subjects and labels."""
    return [record.subject for record in records], [record.label for record in records]


def _take_fold(divided: dict[Split, list[Record]], parts: Parts) -> None:
    """Validate on one fold of everything but the test part."""
    rest = divided["train"] + divided["val"]
    folds = assign_folds(*_groups(rest), num_folds=parts.num_folds, seed=parts.seed)
    divided["train"] = [record for record, fold in zip(rest, folds, strict=True) if fold != parts.fold]
    divided["val"] = [record for record, fold in zip(rest, folds, strict=True) if fold == parts.fold]


def _take_val(divided: dict[Split, list[Record]], parts: Parts) -> None:
    """Make a validation part of subjects of the training part."""
    rest = divided["train"]
    names = assign_splits(*_groups(rest), val_fraction=parts.val_fraction, test_fraction=0.0, seed=parts.seed)
    divided["train"] = [record for record, name in zip(rest, names, strict=True) if name == "train"]
    divided["val"] = [record for record, name in zip(rest, names, strict=True) if name == "val"]
