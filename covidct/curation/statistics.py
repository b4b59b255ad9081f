"""``cohort_statistics``: what there is to know of a cohort before training on it, in one pass over its pixels."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from covidct.curation.file_facts import FileFacts, coarse_months, file_facts, file_months
from covidct.curation.listing import Unreadable, iterate_scans
from covidct.curation.moments import PixelMoments, resize_slices
from covidct.curation.shortcut_features import features_of
from covidct.curation.shortcuts import ShortcutProbe, check_resamples, shortcut_probes
from covidct.errors import InputError
from covidct.functional import ContrastSplit, contrast_score
from covidct.functional.contrast import check_measure
from covidct.labels import WORDS
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.curation.listing import Entry, Scan
    from covidct.io.faults import OnFault

__all__ = ("GREY_LEVELS", "ClassImages", "CohortStatistics", "Counts", "ScanRecord", "cohort_statistics")

_ORDER = ("normal", "non_covid", "cap", "covid")

GREY_LEVELS = 256
"""Bins of the histograms of grey values, over [0, 1]."""


@dataclass(frozen=True, slots=True)
class ScanRecord:
    """One image or scan of a cohort.

    Attributes:
        entry: as it is listed; its path and subject are for comparisons, never for output.
        shape: (slices, rows, columns).
        spacing: mm between them, NaN where unknown.
        facts: of its files.
        contrast: :func:`~covidct.functional.contrast_score`, NaN where no slice shows a body.
    """

    entry: Entry = field(repr=False)
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    facts: FileFacts
    contrast: float


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of a cohort has something in common.

    Attributes:
        subjects: distinct known subjects.
        scans: images or scans.
        slices: of all of them.
        unknown: scans whose subject is unknown.
    """

    subjects: int
    scans: int
    slices: int
    unknown: int


@dataclass(frozen=True, slots=True)
class ClassImages:
    """Pixel-wise statistics of the slices of one class.

    Attributes:
        slices: how many.
        mean: (size, size) float64 in [0, 1].
        std: (size, size) float64, their standard deviation.
        grey: (256,) share of the pixels of each grey value, the mean over slices.
    """

    slices: int
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    grey: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CohortStatistics:
    """Statistics of a cohort.

    Attributes:
        records: what was read, in the order of the listing.
        unreadable: what was not.
        images: label to its statistics: what is known of :data:`covidct.labels.WORDS` from normal to COVID-19, then
            other words by falling number of scans; an empty label is unknown and comes last.
        months: ``"created"``, ``"modified"``, ``"accessed"`` to (month, label) to files, see
            :func:`~covidct.curation.file_facts.file_months`.
        acquired: (month of acquisition, label) to series, of DICOM, or (year, label) where they are few, see
            :func:`~covidct.curation.file_facts.coarse_months`; empty where dates were left out.
        contrast: the line between low and high contrast, None where there is none.
        contrast_basis: ``"training subjects"``, or ``"all subjects"`` where the cohort has no training part.
        contrast_note: why there is no line; empty when there is one.
        measure: of the contrast.
        probes: of shortcuts.
        window: (low, high) in HU that became [0, 1].
    """

    records: tuple[ScanRecord, ...]
    unreadable: tuple[Unreadable, ...]
    images: Mapping[str, ClassImages]
    months: Mapping[str, Mapping[tuple[str, str], int]]
    acquired: Mapping[tuple[str, str], int]
    contrast: ContrastSplit | None
    contrast_basis: str
    contrast_note: str
    measure: Literal["rms", "spread"]
    probes: tuple[ShortcutProbe, ...]
    window: tuple[float, float]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of :attr:`images`."""
        return tuple(self.images)

    def counts(self, *by: Literal["label", "split", "site"]) -> dict[tuple[str, ...], Counts]:
        """Subjects, scans and slices of every combination of what is asked for; of the whole cohort without ``by``."""

        def key(record: ScanRecord) -> tuple[str, ...]:
            return tuple(getattr(record.entry, name) for name in by)

        return {found: _count(list(group)) for found, group in groupby(sorted(self.records, key=key), key)}

    def examples(self) -> tuple[ScanRecord, ScanRecord, ScanRecord] | None:
        """Scans of low, middle and high contrast: next to its 5 %, 50 % and 95 % quantile; None where none is known.

        The very lowest and highest are the odd ones of a cohort, and show nothing but that.

        Returns:
            The three scans, low to high; one of them several times where fewer than three are known.
        """
        known = sorted((r for r in self.records if math.isfinite(r.contrast)), key=lambda record: record.contrast)
        if not known:
            return None
        low, middle, high = (known[round(share * (len(known) - 1))] for share in (0.05, 0.5, 0.95))
        return low, middle, high

    def differences(
        self, labels: Sequence[str] | None = None
    ) -> dict[tuple[str, str], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Mean and standard-deviation image of each label less those of each label before it.

        Of a disease and normal the result is what the disease adds, as D000 shows it (CAP - normal, COVID - normal).

        Args:
            labels: those to compare, since pairs grow with their square; None: all.

        Returns:
            (label, label before it) to the differences of mean and of standard deviation, each of the shape of the
            images of :class:`ClassImages`.
        """
        known = [label for label in self.labels if labels is None or label in labels]
        pairs = [(a, b) for i, b in enumerate(known) for a in known[i + 1 :]]
        return {
            (a, b): (self.images[a].mean - self.images[b].mean, self.images[a].std - self.images[b].std)
            for a, b in pairs
        }


def cohort_statistics(
    entries: Sequence[Entry],
    *,
    window: tuple[float, float] = LUNG_WINDOW,
    size: int = 224,
    measure: Literal["rms", "spread"] = "rms",
    dates: bool = True,
    on_fault: OnFault = "error",
    workers: int | None = None,
    probes: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    on_scan: Callable[[str], None] | None = None,
) -> CohortStatistics:
    """Read a cohort once and describe it.

    Memory holds a few scans, two images per class and a few hundred numbers per scan, whatever the size of the cohort.

    Args:
        entries: from :func:`~covidct.curation.read_listing`.
        window: (low, high) in HU that becomes [0, 1]; images are in display values already.
        size: pixels per side of mean and standard-deviation images.
        measure: of :func:`~covidct.functional.contrast_score`.
        dates: count series by the month of their acquisition; False leaves all dates of DICOM out.
        on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.
        workers: threads that read; None: one per core, at most 8.
        probes: look for shortcuts, see :func:`~covidct.curation.shortcut_probes`.
        resamples: of the bootstrap over subjects of the probes.
        seed: of folds and bootstrap of the probes.
        on_scan: called with the id of each entry that was read.

    Returns:
        The statistics. The line of the contrast is fitted on subjects of the part ``train`` where there is one.

    Raises:
        InputError: when nothing can be read.
        UsageError: for an unknown measure, a size below one, a window that is none, or fewer than no resamples.
    """
    check_measure(measure)
    check_resamples(resamples)
    months = file_months(entries)  # before reading, which is an access
    unreadable: list[Unreadable] = []
    records, features = [], []
    moments: dict[str, PixelMoments] = {}
    grey: dict[str, NDArray[np.float64]] = {}
    PixelMoments(size)  # a wrong size is said before anything is read
    for scan in iterate_scans(entries, window=window, on_fault=on_fault, workers=workers, unreadable=unreadable):
        facts = file_facts(scan)
        label = scan.entry.label
        moments.setdefault(label, PixelMoments(size)).update(resize_slices(scan.stack, size))
        grey[label] = grey.get(label, 0) + _grey(scan.stack)
        if probes:
            features.append(features_of(scan, facts))
        records.append(_record(scan, facts, measure))
        if on_scan is not None:
            on_scan(scan.entry.id)
    if not records:
        first = f" The first: {unreadable[0].told}" if unreadable else ""
        raise InputError(f"Of {len(entries)} entries none can be read: check the paths of the listing.{first}")
    scans = Counter(record.entry.label for record in records)
    images = {
        label: ClassImages((m := moments[label]).count, m.mean, m.std, grey[label] / m.count)
        for label in sorted(moments, key=lambda label: (label == "", _rank(label), -scans[label], label))
    }
    dated = Counter((r.facts.acquired, r.entry.label) for r in records if r.facts.acquired and dates)
    split, basis, note = _contrast_split(records, measure)
    told = shortcut_probes([r.entry for r in records], features, resamples=resamples, seed=seed) if probes else ()
    return CohortStatistics(
        tuple(records),
        tuple(unreadable),
        images,
        months,
        coarse_months(dated),
        split,
        basis,
        note,
        measure,
        told,
        window,
    )


def _rank(label: str) -> int:
    """Place of a label among the diagnoses; words that are none of them come behind."""
    name = WORDS.get(label.lower(), "")
    return _ORDER.index(name) if name else len(_ORDER)


def _record(scan: Scan, facts: FileFacts, measure: Literal["rms", "spread"]) -> ScanRecord:
    """The numbers of one scan."""
    try:
        contrast = contrast_score(scan.stack, measure=measure)
    except InputError:  # no slice shows a body, or values outside of [0, 1]
        contrast = math.nan
    depth, height, width = scan.stack.shape
    spacing = facts.spacing if scan.volume is None else scan.volume.spacing
    return ScanRecord(scan.entry, (depth, height, width), tuple(map(float, spacing)), facts, contrast)  # type: ignore[arg-type]


def _grey(stack: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum over slices of the share of their pixels that each grey value has, (256,); 1.0 falls into the last bin."""
    total = np.zeros(GREY_LEVELS)
    for one in stack:
        counts = cv2.calcHist([np.ascontiguousarray(one)], [0], None, [GREY_LEVELS], [0.0, 1.0 + 1e-6])
        total += counts.ravel() / one.size  # OpenCV 4 gives a column, 5 a row
    return total


def _contrast_split(
    records: Sequence[ScanRecord], measure: Literal["rms", "spread"]
) -> tuple[ContrastSplit | None, str, str]:
    """The line, on whom it was fitted, and why there is none."""
    known = [record for record in records if math.isfinite(record.contrast)]
    train = [record for record in known if record.entry.split == "train"]
    basis = "training subjects" if train else "all subjects"
    chosen = train or known
    scores, subjects = [record.contrast for record in chosen], [record.entry.subject_key for record in chosen]
    try:
        return ContrastSplit.fit(scores, subjects, measure=measure), basis, ""
    except InputError as error:
        return None, basis, str(error)


def _count(records: Sequence[ScanRecord]) -> Counts:
    """Subjects, scans and slices."""
    subjects = {record.entry.subject for record in records if record.entry.subject}
    slices = sum(record.shape[0] for record in records)
    return Counts(len(subjects), len(records), slices, sum(not record.entry.subject for record in records))
