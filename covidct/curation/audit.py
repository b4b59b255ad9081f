"""``audit_listing``: what of a cohort is in two parts at once, or twice with different labels."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from covidct.curation.duplicates import DuplicatePair, find_duplicates
from covidct.curation.shortcut_features import features_of
from covidct.curation.shortcuts import check_resamples, shortcut_probes
from covidct.datasets.splits import subjects_in_several_parts
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from covidct.curation.listing import Entry, Scan, Unreadable
    from covidct.curation.shortcuts import ShortcutProbe
    from covidct.io.faults import OnFault

__all__ = ("LeakageAudit", "SubjectFault", "audit_listing")


@dataclass(frozen=True, slots=True)
class SubjectFault:
    """A subject in several splits, or with several labels.

    Attributes:
        entries: all of its entries, in the order of the listing. The subject's own key is theirs, and not for output.
        words: the splits or labels, in the order in which they appear.
    """

    entries: tuple[Entry, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeakageAudit:
    """What an audit found.

    Attributes:
        entries: the cohort as it is listed.
        unreadable: entries whose pixels could not be read; what is said of subjects counts them too.
        subject_overlap: subjects in more than one split.
        subject_labels: subjects with more than one label. That may be right: patients fall ill and recover.
        pairs: pictures that occur twice, identical ones first, then by falling correlation, then those that are tied
            through entries of unknown split or label, see :class:`covidct.curation.DuplicatePair`.
        compared: candidates that the hashes and thumbnails proposed.
        probes: how well label and source are told without the lungs; empty where that was not asked.
        notes: what was not searched, one sentence each.
    """

    entries: tuple[Entry, ...]
    unreadable: tuple[Unreadable, ...]
    subject_overlap: tuple[SubjectFault, ...]
    subject_labels: tuple[SubjectFault, ...]
    pairs: tuple[DuplicatePair, ...]
    compared: int
    probes: tuple[ShortcutProbe, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def without_subject(self) -> tuple[Entry, ...]:
        """Entries whose subject is unknown: nothing keeps them out of two splits."""
        return tuple(entry for entry in self.entries if not entry.subject)

    @property
    def pairs_across(self) -> tuple[DuplicatePair, ...]:
        """Pairs of which one is in another split than the other."""
        return tuple(pair for pair in self.pairs if pair.across_splits)

    @property
    def pairs_unknown(self) -> tuple[DuplicatePair, ...]:
        """Pairs of which one has no split, in a cohort that has some: where it goes decides whether they leak."""
        split = any(entry.split for entry in self.entries)
        return tuple(pair for pair in self.pairs if split and not (pair.first.split and pair.second.split))

    @property
    def pairs_within(self) -> tuple[DuplicatePair, ...]:
        """Pairs in one split, or in a cohort without splits."""
        split = any(entry.split for entry in self.entries)
        return tuple(
            pair for pair in self.pairs if pair.first.split == pair.second.split and bool(pair.first.split) == split
        )

    @property
    def label_conflicts(self) -> tuple[DuplicatePair, ...]:
        """Pairs of one picture with two labels."""
        return tuple(pair for pair in self.pairs if pair.labels_differ)

    @property
    def leaks(self) -> bool:
        """Whether a subject or a picture is in two splits."""
        return bool(self.subject_overlap or self.pairs_across)


def audit_listing(
    entries: Sequence[Entry],
    *,
    max_distance: int = 4,
    min_correlation: float = 0.9,
    turns: bool = False,
    within_subjects: bool = False,
    window: tuple[float, float] = LUNG_WINDOW,
    on_fault: OnFault = "error",
    probes: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    on_scan: Callable[[str], None] | None = None,
) -> LeakageAudit:
    """Look for what makes the scores of a cohort too good to be true.

    Subjects are compared by the cohort's own keys, exactly; pictures by their pixels
    (:func:`covidct.curation.find_duplicates`), in one pass and with some 10 kilobytes of memory an entry.

    Args:
        entries: from :func:`covidct.curation.read_listing`.
        max_distance: bits in which the perceptual hashes of candidates may differ.
        min_correlation: of the details after alignment, for a candidate to be called a duplicate.
        turns: look for copies that are mirrored or turned by 90 degrees too.
        within_subjects: look for near duplicates among the entries of one subject in one split, too.
        window: (low, high) in HU that becomes [0, 1].
        on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.
        probes: tell label and site without the lungs too, see :func:`covidct.curation.shortcut_probes`.
        resamples: of the bootstrap of the probes.
        seed: of folds and bootstrap of the probes.
        on_scan: called after each entry that was read, with its id.

    Returns:
        What was found.

    Raises:
        UsageError: for a distance or a correlation out of range.
    """
    overlap = _subject_faults(entries, lambda entry: entry.split)
    relabelled = _subject_faults(entries, lambda entry: entry.label)
    check_resamples(resamples)
    unreadable: list[Unreadable] = []
    read: list[Entry] = []
    features = []

    def look(scan: Scan) -> None:
        if probes:
            read.append(scan.entry)
            features.append(features_of(scan))
        if on_scan is not None:
            on_scan(scan.entry.id)

    search = find_duplicates(
        entries,
        max_distance=max_distance,
        min_correlation=min_correlation,
        turns=turns,
        within_subjects=within_subjects,
        window=window,
        on_fault=on_fault,
        unreadable=unreadable,
        on_scan=look,
    )
    return LeakageAudit(
        entries=tuple(entries),
        unreadable=tuple(unreadable),
        subject_overlap=overlap,
        subject_labels=relabelled,
        pairs=search.pairs,
        compared=search.compared,
        probes=shortcut_probes(read, features, resamples=resamples, seed=seed) if read else (),
        notes=search.notes,
    )


def _subject_faults(entries: Sequence[Entry], word_of: Callable[[Entry], str]) -> tuple[SubjectFault, ...]:
    """Subjects with several words, in the order of their first entries; what is unknown differs from nothing."""
    parts: dict[str, list[tuple[str, Entry]]] = defaultdict(list)
    for entry in entries:
        if entry.subject and word_of(entry):
            parts[word_of(entry)].append((entry.subject, entry))
    faults = []
    for by_word in subjects_in_several_parts(parts).values():
        members = sorted((entry for found in by_word.values() for entry in found), key=lambda entry: entry.number)
        faults.append(SubjectFault(tuple(members), tuple(dict.fromkeys(word_of(entry) for entry in members))))
    return tuple(sorted(faults, key=lambda fault: fault.entries[0].number))
