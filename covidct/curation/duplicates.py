"""Pictures that occur twice in a cohort: identical pixels by digests, near duplicates by what their details show."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct.curation.confirm import COMMON_SIZE, Alignment, align, common_size, resemblance
from covidct.curation.duplicate_groups import Tie, hidden_ties, identical_pairs
from covidct.curation.fingerprints import TURNS, fingerprint, picture_of, propose_pairs, turned
from covidct.curation.listing import iterate_scans, read_stack
from covidct.errors import CovidctError, UsageError
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from covidct.curation.fingerprints import Fingerprint
    from covidct.curation.listing import Entry, Scan, Unreadable
    from covidct.io.faults import OnFault

    Picture = Callable[[int], NDArray[np.float32]]

__all__ = ("DuplicatePair", "DuplicateSearch", "find_duplicates")

# The thumbnails of 64 pixels decide what is not worth reading again: copies lie above 0.77 and 0.96 there.
_THUMB_DETAILS, _THUMB_OVERALL = 0.6, 0.85
# What does not resemble the other is not even aligned: copies reach 0.8, nine of ten other candidates among
# radiographs stay below 0.7. Ours, measured on 543 CT slices and 787 radiographs, and 1,600 copies of them.
_LEAST_RESEMBLANCE = 0.7
_LEAST_OVERALL = 0.9
_KEPT = 256  # pictures of 64 kilobytes that are kept for further comparisons


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two entries that show the same picture.

    Attributes:
        first: the earlier one in the listing.
        second: the later one.
        kind: ``"identical"``: the same decoded pixels; ``"near"``: confirmed by correlation; ``"chained"``: in another
            split, or of another label, and tied through entries of which that is unknown.
        details: normalised cross-correlation of the details after alignment, 1 for identical pixels; of a chain, that
            of its weakest link.
        overall: the same of the grey values.
        distance: bits in which the perceptual hashes (pHash) differ.
        turn: how the second lies to the first, one of :data:`covidct.curation.fingerprints.TURNS`; empty for a chain.
    """

    first: Entry
    second: Entry
    kind: Literal["identical", "near", "chained"]
    details: float = 1.0
    overall: float = 1.0
    distance: int = 0
    turn: str = TURNS[0]

    @property
    def across_splits(self) -> bool:
        """Whether the two are in different splits."""
        return bool(self.first.split and self.second.split and self.first.split != self.second.split)

    @property
    def labels_differ(self) -> bool:
        """Whether the two have different labels."""
        return bool(self.first.label and self.second.label and self.first.label != self.second.label)

    @property
    def same_subject(self) -> bool | None:
        """Whether the two are of one subject; None when a subject is unknown."""
        known = self.first.subject and self.second.subject
        return self.first.subject == self.second.subject if known else None


@dataclass(frozen=True, slots=True)
class DuplicateSearch:
    """What a search for duplicates found.

    Attributes:
        pairs: identical ones first, then by falling correlation, then the chained ones. Of several identical pictures,
            each is paired with the first, and with the first whose split or label is known where that of the first is
            not; of these the first alone is compared with other pictures.
        compared: how many candidates the hashes and thumbnails proposed.
        notes: what was not searched, one sentence each.
    """

    pairs: tuple[DuplicatePair, ...]
    compared: int
    notes: tuple[str, ...] = ()


def find_duplicates(
    entries: Sequence[Entry],
    *,
    max_distance: int = 4,
    min_correlation: float = 0.9,
    turns: bool = False,
    within_subjects: bool = False,
    window: tuple[float, float] = LUNG_WINDOW,
    on_fault: OnFault = "error",
    unreadable: list[Unreadable] | None = None,
    on_scan: Callable[[Scan], None] | None = None,
) -> DuplicateSearch:
    """Find entries that show the same picture: copies, compressed, rescaled or cropped by up to 5 % too.

    Each entry is read once for its fingerprint; then only those that look like duplicates are read again. Memory is
    some 10 kilobytes an entry. A stack is represented by the mean of its slices.

    Args:
        entries: of a cohort.
        max_distance: bits in which the perceptual hashes of candidates may differ; candidates also come from similar
            thumbnails.
        min_correlation: of the details after alignment, for a candidate to be called a duplicate.
        turns: look for copies that are mirrored or turned by 90 degrees too; eight times the work.
        within_subjects: look for near duplicates among the entries of one known subject in one split, too. They are no
            leak, and neighbouring slices of one scan are many.
        window: (low, high) in HU that becomes [0, 1].
        on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.
        unreadable: where entries go that cannot be read; None raises.
        on_scan: called with each scan while it is in memory.

    Returns:
        The pairs. Where more look alike than can be compared, notes say what was not searched.

    Raises:
        UsageError: for a distance or a correlation out of range.
        CovidctError: for an entry that cannot be read, without ``unreadable``.
    """
    if not 0 < min_correlation <= 1:
        raise UsageError(f"min_correlation={min_correlation} must lie above 0 and be at most 1.")
    if not 0 <= max_distance <= 64:
        raise UsageError(f"max_distance={max_distance} must lie between 0 and 64 bits.")
    seen: list[Entry] = []
    prints: list[Fingerprint] = []
    for scan in iterate_scans(entries, window=window, on_fault=on_fault, unreadable=unreadable):
        seen.append(scan.entry)
        prints.append(fingerprint(scan))
        if on_scan is not None:
            on_scan(scan)
    equal = _equal(prints)
    singles = [members[0] for members in equal]
    ways = tuple(range(len(TURNS))) if turns else (0,)
    candidates, notes = propose_pairs(
        [prints[index] for index in singles],
        max_distance=max_distance,
        turns=ways,
        groups=None if within_subjects else _subject_groups(seen, equal),
    )

    @lru_cache(_KEPT)
    def picture(index: int) -> NDArray[np.float32]:
        """An entry again; small ones keep their size."""
        pixels = picture_of(read_stack(seen[index], window=window, on_fault=on_fault))
        return common_size(pixels, min(COMMON_SIZE, *pixels.shape))

    identical = [Tie(one, other) for members in equal for one, other in identical_pairs(seen, members)]
    near = [
        (Tie(singles[i], singles[j], fit.details, fit.overall), turn)
        for i, j, fit, turn in _confirmed(candidates, singles, prints, picture, ways)
        if fit.details >= min_correlation and fit.overall >= _LEAST_OVERALL
    ]
    near.sort(key=lambda found: -found[0].details)
    chained = hidden_ties(seen, [*identical, *(tie for tie, _ in near)])

    def pair(tie: Tie, kind: Literal["identical", "near", "chained"], turn: str) -> DuplicatePair:
        bits = (prints[tie.first].hash ^ prints[tie.second].hash).bit_count()
        return DuplicatePair(seen[tie.first], seen[tie.second], kind, tie.details, tie.overall, bits, turn)

    pairs = [pair(tie, "identical", TURNS[0]) for tie in identical]
    pairs += [pair(tie, "near", TURNS[turn]) for tie, turn in near]
    pairs += [pair(tie, "chained", "") for tie in chained]
    return DuplicateSearch(tuple(pairs), len(candidates), notes)


def _equal(prints: Sequence[Fingerprint]) -> list[list[int]]:
    """Indices of equal digests, by their first ones."""
    members: dict[bytes, list[int]] = defaultdict(list)
    for index, one in enumerate(prints):
        members[one.digest].append(index)
    return list(members.values())


def _subject_groups(entries: Sequence[Entry], equal: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """One number per subject and split for each picture; -1 where the subject is unknown or there are several."""
    numbers: dict[tuple[str, str], int] = {}
    codes = []
    for members in equal:
        keys = {(entries[index].subject, entries[index].split) for index in members}
        key = keys.pop()
        codes.append(numbers.setdefault(key, len(numbers)) if key[0] and not keys else -1)
    return np.array(codes, np.int64)


def _confirmed(
    candidates: NDArray[np.int64],
    singles: Sequence[int],
    prints: Sequence[Fingerprint],
    picture: Picture,
    ways: Sequence[int],
) -> Iterator[tuple[int, int, Alignment, int]]:
    """Candidates that can be aligned: both places in ``singles``, how well, and the way in which the second lies."""
    for i, j in candidates.tolist():
        fit = _confirm(singles[i], singles[j], prints, picture, ways)
        if fit is not None:
            yield i, j, *fit


def _confirm(
    one: int,
    other: int,
    prints: Sequence[Fingerprint],
    picture: Picture,
    ways: Sequence[int],
) -> tuple[Alignment, int] | None:
    """The alignment of a candidate and the way in which the second lies; None where they do not fit."""
    first, lying = prints[one].thumb, {way: turned(prints[other].thumb, way) for way in ways}
    likely = [way for way, second in lying.items() if resemblance(first, second) >= _LEAST_RESEMBLANCE]
    fits = [(align(first, lying[way]), way) for way in likely]
    worth = [(fit.details, way) for fit, way in fits if fit is not None and _worth_reading(fit)]
    if not worth:
        return None
    way = max(worth, key=lambda pair: pair[0])[1]
    try:
        fit = align(picture(one), turned(picture(other), way))
    except CovidctError:  # it was there a moment ago
        return None
    return None if fit is None else (fit, way)


def _worth_reading(fit: Alignment) -> bool:
    """Whether thumbnails are so alike that the files are read again."""
    return fit.details >= _THUMB_DETAILS and fit.overall >= _THUMB_OVERALL
