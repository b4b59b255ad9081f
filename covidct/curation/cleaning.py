"""``clean_scans``: slice order of the scans of a cohort, and the table of what stays; no file is copied or deleted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidct.curation.hashes import HashKind, perceptual_hashes
from covidct.curation.listing import Unreadable, iterate_scans
from covidct.curation.slice_order import SliceOrder, check_slice_order, grey_levels, order_of_hashes
from covidct.datasets.kept_slices import format_slices
from covidct.errors import UsageError
from covidct.io.raster import image_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.curation.listing import Entry, OnFault, Scan

__all__ = ("CleanedScan", "Neighbourhood", "clean_scans", "cleaned_rows", "slice_rows")


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A removed slice between its neighbours: (H, W) uint8 each."""

    index: int
    before: NDArray[np.uint8]
    slice: NDArray[np.uint8]
    after: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CleanedScan:
    """What was found in one scan.

    Attributes:
        entries: the scan's entry; of a scan whose slices are entries of their own, all of them in their order.
        order: which slices stay.
        pictures: the removed ones with their neighbours.
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
    window: tuple[float, float] = (-1250.0, 250.0),
    on_fault: OnFault = "error",
    unreadable: list[Unreadable] | None = None,
    on_scan: Callable[[str], None] | None = None,
) -> tuple[CleanedScan, ...]:
    """Check the slice order of each scan (:func:`covidct.curation.check_slice_order`), reading each once.

    Args:
        entries: scans (volumes or folders of slices); or single slices, with ``groups``.
        groups: name of the scan of each entry, where entries are slices in the order of the listing.
        kind: of hash.
        threshold: bits; a distance above it is dissimilar.
        window: (low, high) in HU that becomes [0, 1].
        on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.
        unreadable: where entries go that cannot be read; None raises.
        on_scan: called after each entry with its id.

    Returns:
        The scans in the order of the listing; slices of one scan need not follow one another.

    Raises:
        UsageError: for a single image without ``groups``, or a volume with them.
        CovidctError: for an entry that cannot be read, without ``unreadable``.
    """
    passed = iterate_scans(entries, window=window, on_fault=on_fault, unreadable=unreadable)
    found: list[CleanedScan] = []
    slices: dict[str, list[tuple[Entry, np.uint64]]] = {}
    group_of = {} if groups is None else dict(zip((e.number for e in entries), groups, strict=True))
    for scan in passed:
        _check_form(scan, grouped=groups is not None)
        if groups is None:
            grey = grey_levels(scan.stack)
            order = check_slice_order(grey, kind=kind, threshold=threshold)
            pictures = tuple(_neighbourhood(grey, removed.index) for removed in order.removed)
            found.append(CleanedScan((scan.entry,), order, pictures))
        else:
            hash_ = perceptual_hashes([grey_levels(scan.stack[0])], kind=kind)[0]
            slices.setdefault(group_of[scan.entry.number], []).append((scan.entry, hash_))
        if on_scan is not None:
            on_scan(scan.entry.id)
    found += [_of_slices(members, kind, threshold, window) for members in slices.values()]
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
        kept = format_slices(scan.order.kept) if scan.order.removed else ""
        rows[entry.number] = {**cells[entry.number], "path": relative(entry.path, folder), "slices": kept}
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
        if len(files) != len(scan.order.kept) + len(scan.order.removed):
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


def _check_form(scan: Scan, *, grouped: bool) -> None:
    """A scan has slices; a slice has none."""
    if not grouped and scan.volume is None:
        raise UsageError(
            f"{scan.entry.id} is a single picture, which has no slice order: list scans, or name the column that says "
            "which pictures make a scan."
        )
    if grouped and scan.volume is not None:
        raise UsageError(f"{scan.entry.id} is a whole scan: leave out the column of scans.")


def _of_slices(
    members: Sequence[tuple[Entry, np.uint64]], kind: HashKind, threshold: int, window: tuple[float, float]
) -> CleanedScan:
    """A scan whose slices are entries; only the pictures that are shown are read again."""
    entries = tuple(entry for entry, _ in members)
    order = order_of_hashes(np.array([hash_ for _, hash_ in members], np.uint64), kind=kind, threshold=threshold)
    pictures = []
    for removed in order.removed:
        near = [entries[removed.index + step] for step in (-1, 0, 1)]
        before, here, after = (grey_levels(s.stack[0]) for s in iterate_scans(near, window=window))
        pictures.append(Neighbourhood(removed.index, before, here, after))
    return CleanedScan(entries, order, tuple(pictures))


def _neighbourhood(grey: NDArray[np.uint8], index: int) -> Neighbourhood:
    """Copies, so that the stack can go."""
    return Neighbourhood(index, grey[index - 1].copy(), grey[index].copy(), grey[index + 1].copy())
