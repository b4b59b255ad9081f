"""``clean_scans``: slice order of the scans of a cohort, and the table of what stays; no file is copied or deleted."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidct.curation.hashes import HashKind, perceptual_hashes
from covidct.curation.listing import Unreadable, holds_scan, iterate_scans
from covidct.curation.slice_order import SliceOrder, check_slice_order, check_threshold, grey_levels, order_of_hashes
from covidct.datasets.kept_slices import format_slices
from covidct.errors import UsageError
from covidct.io.raster import image_files
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.curation.listing import Entry, Scan
    from covidct.io.faults import OnFault

__all__ = ("CleanedScan", "Neighbourhood", "clean_scans", "cleaned_rows", "slice_rows")

_PICTURE = "is a single picture, not a scan: list scans, or name the column that says which pictures make a scan."
_WHOLE = "is a whole scan and no slice: list it in a table without the column of scans."


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A removed slice between its neighbours: their indices, and (H, W) uint8 of each."""

    indices: tuple[int, int, int]
    before: NDArray[np.uint8]
    slice: NDArray[np.uint8]
    after: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CleanedScan:
    """What was found in one scan.

    Attributes:
        entries: the scan's entry; of a scan whose slices are entries of their own, all of them in their order, those
            that cannot be read too.
        order: which slices stay: indices in the scan's own files, or in ``entries``.
        pictures: the removed ones with their neighbours; one whose files are gone is left out.
    """

    entries: tuple[Entry, ...]
    order: SliceOrder
    pictures: tuple[Neighbourhood, ...]

    @property
    def id(self) -> str:
        """Name for outputs: the row of its (first) entry."""
        return self.entries[0].id


def clean_scans(
    entries: Sequence[Entry],
    *,
    groups: Sequence[str] | None = None,
    kind: HashKind = "ahash",
    threshold: int = 5,
    window: tuple[float, float] = LUNG_WINDOW,
    on_fault: OnFault = "error",
    unreadable: list[Unreadable] | None = None,
    on_scan: Callable[[str], None] | None = None,
) -> tuple[CleanedScan, ...]:
    """Check the slice order of each scan (:func:`covidct.curation.check_slice_order`), reading each once.

    Slices that a table has left out before stay out, and the others are neighbours. A slice that cannot be read is a
    gap: those beside it count as ends.

    Args:
        entries: scans (volumes or folders of slices); or single slices, with ``groups``.
        groups: name of the scan of each entry, where entries are slices in the order of the listing.
        kind: of hash.
        threshold: bits; a distance above it is dissimilar.
        window: (low, high) in HU that becomes [0, 1].
        on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.
        unreadable: where entries go that cannot be read, and those that are pictures among scans or scans among
            slices; None raises.
        on_scan: called after each entry with its id.

    Returns:
        The scans in the order of the listing; slices of one scan need not follow one another.

    Raises:
        UsageError: for a threshold or window out of range, or when all entries are single pictures without ``groups``,
            or scans with them, before anything is read.
        CovidctError: for an entry that cannot be read, without ``unreadable``.
    """
    check_threshold(threshold)
    members: dict[str, list[Entry]] = {}
    for entry, group in () if groups is None else zip(entries, groups, strict=True):
        members.setdefault(group, []).append(entry)
    fitting = _of_one_form(entries, grouped=groups is not None, unreadable=unreadable)
    found: list[CleanedScan] = []
    hashes: dict[int, np.uint64] = {}
    for scan in iterate_scans(fitting, window=window, on_fault=on_fault, unreadable=unreadable):
        if groups is None:
            found.append(_of_stack(scan, kind, threshold))
        else:
            hashes[scan.entry.number] = perceptual_hashes([grey_levels(scan.stack[0])], kind=kind)[0]
        if on_scan is not None:
            on_scan(scan.entry.id)
    for slices in members.values():
        if any(entry.number in hashes for entry in slices):
            order = _of_slices(slices, hashes, kind, threshold)
            found.append(CleanedScan(tuple(slices), order, _read_again(slices, order, window, on_fault)))
    return tuple(found)


def cleaned_rows(
    cells: Mapping[int, Mapping[str, str]], scans: Sequence[CleanedScan], folder: Path
) -> Iterator[dict[str, str]]:
    """Rows of the table of what stays, one per entry, for :class:`covidct.datasets.ManifestVolumes`.

    Args:
        cells: number of an entry to its row as it was, by column.
        scans: the cleaned ones; entries that are in none of them (unreadable ones) are left out.
        folder: where the table will lie; paths become relative to it.

    Yields:
        The row with ``path``, and ``slices`` where slices of a scan are left out; no row for a removed slice.
    """
    rows: dict[int, dict[str, str]] = {}
    for scan in scans:
        if len(scan.entries) > 1:
            for index in scan.order.kept:
                entry = scan.entries[index]
                rows[entry.number] = {**cells[entry.number], "path": relative(entry.path, folder)}
            continue
        (entry,) = scan.entries
        whole = entry.slices is None and not scan.order.removed
        kept = {"slices": "" if whole else format_slices(scan.order.kept), "series_uid": entry.series}
        rows[entry.number] = {**cells[entry.number], "path": relative(entry.path, folder), **kept}
    yield from (rows[number] for number in sorted(rows))


def slice_rows(
    cells: Mapping[int, Mapping[str, str]], scans: Sequence[CleanedScan], folder: Path
) -> Iterator[dict[str, str]]:
    """Rows of kept slice files, one per file, for :class:`covidct.datasets.ManifestSlices`.

    Only scans that are folders of pictures have slice files in the order of their slices.

    Args:
        cells: number of an entry to its row as it was, by column.
        scans: the cleaned ones.
        folder: where the table will lie.

    Yields:
        The scan's row with the path of the slice, ``scan`` (id of its entry) and ``slice`` (its index).
    """
    for scan in scans:
        entry = scan.entries[0]
        if len(scan.entries) > 1 or not entry.path.is_dir():
            continue
        files = image_files(entry.path)
        depth = len(scan.order.kept) + len(scan.order.removed)
        if len(files) != depth if entry.slices is None else len(files) <= entry.slices[-1]:
            continue  # DICOM, or a folder that changed
        for index in scan.order.kept:
            place = {"path": relative(files[index], folder), "scan": scan.id, "slice": str(index)}
            yield {**cells[entry.number], **place}


def relative(path: Path, folder: Path) -> str:
    """A path as seen from a folder, with forward slashes; absolute where there is no way (another drive)."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def _of_one_form(entries: Sequence[Entry], *, grouped: bool, unreadable: list[Unreadable] | None) -> Sequence[Entry]:
    """Scans have slices, slices have none: entries of the right form, known by their paths; the others are told."""
    fitting = [entry for entry in entries if holds_scan(entry.path) != grouped or not entry.path.exists()]
    reason = _WHOLE if grouped else _PICTURE
    taken = {entry.number for entry in fitting}
    others = [entry for entry in entries if entry.number not in taken]
    if others and (unreadable is None or not fitting):
        raise UsageError(f"{others[0].id} {reason}")
    if unreadable is not None:
        unreadable += [Unreadable(entry, f"This {reason}") for entry in others]
    return fitting


def _of_stack(scan: Scan, kind: HashKind, threshold: int) -> CleanedScan:
    """A scan that was read whole; its slices are called by their indices in its files."""
    grey = grey_levels(scan.stack)
    order = check_slice_order(grey, kind=kind, threshold=threshold)
    names = range(len(grey)) if scan.entry.slices is None else scan.entry.slices
    pictures = []
    for removed in order.removed:
        before, here, after = (removed.index + step for step in (-1, 0, 1))
        planes = (grey[place].copy() for place in (before, here, after))  # so that the stack can go
        pictures.append(Neighbourhood((names[before], names[here], names[after]), *planes))
    gone = tuple(replace(removed, index=names[removed.index]) for removed in order.removed)
    named = replace(order, kept=tuple(names[place] for place in order.kept), removed=gone)
    return CleanedScan((scan.entry,), named, tuple(pictures))


def _of_slices(entries: Sequence[Entry], hashes: Mapping[int, np.uint64], kind: HashKind, threshold: int) -> SliceOrder:
    """The order of slices that are entries, by their places in the listing; those without a hash are gaps."""
    read = [place for place, entry in enumerate(entries) if entry.number in hashes]
    bits = np.array([hashes[entries[place].number] for place in read], np.uint64)
    return order_of_hashes(bits, kind=kind, threshold=threshold, indices=read)


def _read_again(
    entries: Sequence[Entry], order: SliceOrder, window: tuple[float, float], on_fault: OnFault
) -> tuple[Neighbourhood, ...]:
    """Pictures of removed slices that are entries; none where a file is gone since."""
    pictures = []
    for removed in order.removed:
        indices = (removed.index - 1, removed.index, removed.index + 1)
        near, lost = [entries[index] for index in indices], list[Unreadable]()
        planes = [
            grey_levels(scan.stack[0])
            for scan in iterate_scans(near, window=window, on_fault=on_fault, unreadable=lost)
        ]
        if not lost:
            pictures.append(Neighbourhood(indices, *planes))
    return tuple(pictures)
