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
        hold_out_site: site that makes the test part, all others are for training and validation; None: no such rule.
    """

    split: Literal["auto", "manifest", "subject"] = "auto"
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    num_folds: int = 0
    fold: int = 0
    seed: int = 0
    hold_out_site: str | None = None

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
        if self.hold_out_site is not None and self.split == "manifest":
            raise UsageError("split='manifest' and hold_out_site both name the test part: give one of them.")


def divide(records: Sequence[Record], parts: Parts, *, class_names: Sequence[str] = ()) -> dict[Split, list[Record]]:
    """Split records.

    The data set's own split is taken as it is; where it has no validation part, subjects of its training part make
    one. With folds, the test part (the data set's own, or ``test_fraction``) is set aside first. With
    ``hold_out_site`` the test part is that site, and any split of the data set's own is left aside.

    Args:
        records: the samples to divide.
        parts: how.
        class_names: names of the classes, for messages.

    Returns:
        The records of each part, in the order given.

    Raises:
        UsageError: when there are too few subjects, the data set has no split of its own and one is asked for, or a
            site cannot be held out.
    """
    if parts.hold_out_site is not None:
        return _leave_site_out(records, parts, parts.hold_out_site, class_names)
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


def _leave_site_out(
    records: Sequence[Record], parts: Parts, held_out: str, class_names: Sequence[str]
) -> dict[Split, list[Record]]:
    """Test on one site, train and validate on the others."""
    _check_sites(records, held_out, class_names)
    divided: dict[Split, list[Record]] = {
        "train": [record for record in records if record.site != held_out],
        "val": [],
        "test": [record for record in records if record.site == held_out],
    }
    if parts.num_folds:
        _take_fold(divided, parts)
    elif parts.val_fraction:
        _take_val(divided, parts)
    return divided


def _check_sites(records: Sequence[Record], held_out: str, class_names: Sequence[str]) -> None:
    """Refuse to hold out a site where that cannot tell the disease from its source."""
    unknown = sum(not record.site for record in records)
    if unknown:
        raise UsageError(
            f"{unknown} of {len(records)} samples have no site, so hold_out_site cannot keep the sites apart: fill "
            "the site column."
        )
    sites = sorted({record.site for record in records})
    if held_out not in sites or len(sites) < 2:
        raise UsageError(
            f"hold_out_site={held_out!r} cannot be held out: the data set has the site(s) {', '.join(sites)}; name one "
            "of at least two."
        )
    for label in sorted({record.label for record in records if record.label >= 0}):
        at = {record.site for record in records if record.label == label}
        if len(at) == 1:
            name = class_names[label] if label < len(class_names) else str(label)
            raise UsageError(
                f"The class {name} occurs at the site {at.pop()} only, so class and source go together and a held-out "
                "site cannot tell them apart: a network may have learnt the source and not the disease. Add scans of "
                f"{name} from another site, or split by subject and say so beside the result."
            )


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
