"""The gate's line between subjects of low and of high contrast, and the samples on one side of it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from covidct.errors import UsageError
from covidct.functional import ContrastSplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from covidct.datasets import BaseDataset, Record
    from covidct.datasets.base import Split
    from covidct.functional.contrast import Measure, Side

__all__ = ("one_side", "split_of_training", "subject_contrasts")


def subject_contrasts(
    dataset: BaseDataset, records: Sequence[Record], contrasts: Mapping[tuple[int, int | None], float]
) -> dict[int, float]:
    """Median contrast of each subject over its samples.

    Args:
        dataset: whose records they are.
        records: samples.
        contrasts: (source, slice) of a record to its contrast.

    Returns:
        Hash of the subject to its contrast.
    """
    grouped: dict[int, list[float]] = {}
    for record in records:
        grouped.setdefault(dataset.subject_hash(record), []).append(contrasts[record.source, record.slice])
    return {subject: median(values) for subject, values in grouped.items()}


def split_of_training(
    dataset: BaseDataset, train: Sequence[Record], contrasts: Mapping[int, float], *, measure: Measure
) -> ContrastSplit | None:
    """The line by Otsu over the training subjects alone; None without any.

    Raises:
        InputError: when they cannot be split.
    """
    subjects = list(dict.fromkeys(dataset.subject_hash(record) for record in train))
    if not subjects:
        return None
    return ContrastSplit.fit([contrasts[subject] for subject in subjects], subjects, measure=measure)


def one_side(
    dataset: BaseDataset,
    parts: Mapping[Split, Sequence[Record]],
    contrasts: Mapping[int, float],
    *,
    split: ContrastSplit | None,
    side: Side,
) -> dict[Split, list[Record]]:
    """The samples of the subjects on one side.

    Raises:
        UsageError: when there is no line, for want of training subjects.
    """
    if split is None:
        raise UsageError(
            "contrast_side needs training subjects, from whose contrasts the line between the sides comes."
        )
    return {
        name: [record for record in records if split.assign(contrasts[dataset.subject_hash(record)]) == side]
        for name, records in parts.items()
    }
