"""Splits by subject, stratified by class: no patient is ever in two parts, and the order of a table changes nothing."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from covidct.errors import ManifestError, UsageError
from covidct.sample import stable_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.datasets.base import Record, Split

__all__ = ("SPLITS", "assign_folds", "assign_splits", "check_no_overlap", "subjects_in_several_parts")

_log = logging.getLogger(__name__)
T = TypeVar("T")

SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""Parts of a cohort."""

_PARTNERS = 1000  # swaps look at this many of the smallest subjects: enough for any choice, and linear in the cohort


def assign_splits(
    subjects: Sequence[str],
    labels: Sequence[int],
    *,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
) -> list[Split]:
    """Put samples into train, val and test so that each subject is in one part and each part has the classes' shares.

    Subjects are dealt out from the one with most samples to the one with fewest, each to the part that it brings
    nearest to its share of every class; subjects of one size come in the order of a seeded hash. Then single subjects
    are moved and pairs swapped as long as that helps.

    Args:
        subjects: subject key of each sample.
        labels: class of each sample.
        val_fraction: share of the samples for validation, 0 to 1.
        test_fraction: share of the samples for the test, 0 to 1; 1 makes all of them the test part.
        seed: chooses among equally good splits.

    Returns:
        The part of each sample.

    Raises:
        UsageError: when the fractions are no shares of a whole, or there are fewer subjects than parts.
    """
    train_fraction = 1 - val_fraction - test_fraction
    if min(val_fraction, test_fraction, train_fraction + 1e-9) < 0:
        raise UsageError(
            f"val_fraction={val_fraction} and test_fraction={test_fraction} are no shares of a whole: give two "
            "non-negative numbers with a sum of at most 1."
        )
    names, counts = _class_counts(subjects, labels, seed)
    share = np.array([train_fraction if train_fraction > 1e-9 else 0.0, val_fraction, test_fraction])
    wanted = int((share > 0).sum())
    if len(names) < wanted:
        raise UsageError(
            f"{len(names)} subject(s) cannot fill {wanted} parts: give more subjects, or set a fraction to 0."
        )
    part_of = dict(zip(names, _deal(counts, share), strict=True))
    return [SPLITS[part_of[subject]] for subject in subjects]


def assign_folds(subjects: Sequence[str], labels: Sequence[int], *, num_folds: int = 5, seed: int = 0) -> list[int]:
    """Number the folds of a cross-validation by subject, stratified by class (scikit-learn's StratifiedGroupKFold).

    Args:
        subjects: subject key of each sample.
        labels: class of each sample.
        num_folds: number of folds, at least 2.
        seed: chooses among equally good foldings.

    Returns:
        The fold of each sample, 0 to ``num_folds`` - 1.

    Raises:
        UsageError: when there are fewer subjects than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    order = {subject: rank for rank, subject in enumerate(_hash_order(subjects, seed))}
    if not 2 <= num_folds <= len(order):
        raise UsageError(f"num_folds={num_folds} must lie between 2 and the number of subjects, {len(order)}.")
    groups = np.array([order[subject] for subject in subjects])
    classes = np.asarray(labels)
    rows = np.lexsort((classes, groups))  # the table's order must not matter
    # Classes with fewer samples than folds go where they fit: the splitter refuses only if that holds for all of them.
    if max(Counter(labels).values()) < num_folds:
        classes = np.zeros_like(classes)
    folds = np.empty(len(groups), dtype=np.int64)
    splitter = StratifiedGroupKFold(num_folds)
    for fold, (_, chosen) in enumerate(splitter.split(rows, classes[rows], groups[rows])):
        folds[rows[chosen]] = fold
    return [int(fold) for fold in folds]


def subjects_in_several_parts(parts: Mapping[str, Iterable[tuple[str, T]]]) -> dict[str, dict[str, list[T]]]:
    """Find the subjects that are in more than one part.

    Args:
        parts: part to (subject, what is of it) of its members.

    Returns:
        Each such subject to part to what is of it there, in the order given.
    """
    seen: dict[str, dict[str, list[T]]] = defaultdict(dict)
    for part, members in parts.items():
        for subject, member in members:
            seen[subject].setdefault(part, []).append(member)
    return {subject: found for subject, found in seen.items() if len(found) > 1}


def check_no_overlap(parts: Mapping[Split, Sequence[Record]], *, allow: bool = False) -> None:
    """Refuse a split in which one subject is in two parts.

    Args:
        parts: part name to its records.
        allow: say it as a warning instead.

    Raises:
        ManifestError: counts the subjects and names up to five records of each of the two parts.
    """
    shared = subjects_in_several_parts({part: [(r.subject, r.id) for r in records] for part, records in parts.items()})
    if not shared:
        return
    shown = "; ".join(
        " and ".join(f"{ids[0]} ({part})" for part, ids in found.items()) for found in list(shared.values())[:5]
    )
    fault = f"{len(shared)} subject(s) are in more than one split, for example {shown}"
    if not allow:
        raise ManifestError(
            f"{fault}: put every subject into one split only, or scores will be too good to be true (what overlaps on "
            "purpose needs allow_subject_overlap=True)."
        )
    _log.warning("%s: scores on this split are too good to be true (allow_subject_overlap=True).", fault)


def _hash_order(subjects: Sequence[str], seed: int) -> list[str]:
    """Unique subjects in an order that depends on their keys and the seed only."""
    return sorted(set(subjects), key=lambda subject: (stable_hash(str(seed), subject), subject))


def _class_counts(subjects: Sequence[str], labels: Sequence[int], seed: int) -> tuple[list[str], NDArray[np.int64]]:
    """Subjects, largest first, and the (subjects, classes) number of their samples."""
    classes = {label: column for column, label in enumerate(sorted(set(labels)))}
    counts: dict[str, NDArray[np.int64]] = {
        subject: np.zeros(len(classes), dtype=np.int64) for subject in _hash_order(subjects, seed)
    }
    for subject, label in zip(subjects, labels, strict=True):
        counts[subject][classes[label]] += 1
    names = sorted(counts, key=lambda subject: -int(counts[subject].sum()))  # stable: ties keep the hash order
    return names, np.stack([counts[name] for name in names]) if names else np.zeros((0, 0), dtype=np.int64)


def _deal(counts: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.int64]:
    """Part of each subject; ``counts`` is (subjects, classes), largest first, ``share`` the parts' shares.

    Lowers the sum over parts and classes of ((samples - wanted samples) / samples of the class)^2, all classes
    together counting as one more class: first by dealing out, then by moves and swaps until none helps.
    """
    counts = np.column_stack([counts, counts.sum(axis=1)])
    total = counts.sum(axis=0)
    scaled = counts / total  # a rare class counts as much as a frequent one
    excess = np.repeat(-share[:, None], len(total), axis=1)  # (parts, classes): what a part has beyond its share
    open_parts = np.flatnonzero(share > 0)
    part = np.full(len(counts), -1)
    for subject, count in enumerate(scaled):
        cost = (count * (2 * excess[open_parts] + count)).sum(axis=1)
        part[subject] = open_parts[int(np.argmin(cost))]
        excess[part[subject]] += count
    _fill_empty(part, scaled, open_parts, excess)
    for _ in range(20):  # each step lowers the distance; a few passes reach the end
        if not any([_step(subject, part, scaled, open_parts, excess) for subject in range(len(scaled))]):
            break
    return part


def _fill_empty(
    part: NDArray[np.int64], scaled: NDArray[np.float64], open_parts: NDArray[np.int64], excess: NDArray[np.float64]
) -> None:
    """Give every wanted part at least one subject, the smallest of the part with most subjects."""
    for p in open_parts:
        if not (part == p).any():
            donor = int(np.bincount(part, minlength=len(excess)).argmax())
            _move(int(np.flatnonzero(part == donor)[-1]), int(p), part, scaled, excess)


def _step(
    subject: int,
    part: NDArray[np.int64],
    scaled: NDArray[np.float64],
    open_parts: NDArray[np.int64],
    excess: NDArray[np.float64],
) -> bool:
    """Do the best move or swap of one subject if it lowers the distance; a part is never emptied."""
    here, count = int(part[subject]), scaled[subject]
    gap = excess[here] - excess  # (parts, classes); moving d from here to p costs 2 d (d - gap)
    moves = (2 * count * (count - gap)).sum(axis=1)
    moves[[p for p in range(len(moves)) if p not in open_parts or p == here]] = np.inf
    if np.count_nonzero(part == here) == 1:
        moves[:] = np.inf
    first = max(len(part) - _PARTNERS, 0)
    given = count - scaled[first:]  # what a swap with each other subject takes from here
    swaps = (2 * given * (given - gap[part[first:]])).sum(axis=1)
    swaps[part[first:] == here] = np.inf
    best_move, best_swap = int(np.argmin(moves)), first + int(np.argmin(swaps))
    if min(moves[best_move], swaps[best_swap - first]) > -1e-12:
        return False
    if moves[best_move] <= swaps[best_swap - first]:
        _move(subject, best_move, part, scaled, excess)
    else:
        there = int(part[best_swap])
        _move(best_swap, here, part, scaled, excess)
        _move(subject, there, part, scaled, excess)
    return True


def _move(
    subject: int, to: int, part: NDArray[np.int64], scaled: NDArray[np.float64], excess: NDArray[np.float64]
) -> None:
    """Put a subject into another part."""
    excess[part[subject]] -= scaled[subject]
    excess[to] += scaled[subject]
    part[subject] = to
