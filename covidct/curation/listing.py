"""``read_listing``: the images of a cohort as they are listed, faults and all, and one pass over their pixels.

A data set refuses a table with faults (a subject in two splits, a file listed twice); here they are what is looked for.
"""

from __future__ import annotations

import os
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidct.curation.sources import is_table, places_of_folders, rows_of_table
from covidct.datasets.kept_slices import parse_slices
from covidct.errors import CovidctError, InputError, ManifestError, UsageError
from covidct.functional.intensity import check_window, window_hu
from covidct.io import read_image
from covidct.io.anonymous import anonymous
from covidct.io.faults import OnFault, check_on_fault
from covidct.io.raster import to_grey
from covidct.io.scan import VOLUME_NAMES, read_scan_with_info
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.io import SeriesInfo
    from covidct.volume import Volume

__all__ = (
    "Entry",
    "OnFault",
    "Scan",
    "Unreadable",
    "holds_scan",
    "iterate_scans",
    "read_listing",
    "read_stack",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One image or scan of a cohort, as it is listed.

    Attributes:
        number: 1 for the first.
        path: an image, a volume, or a folder of slices.
        label: the cohort's own word, empty where unknown.
        subject: the cohort's own key of the patient, empty where unknown. It is for comparisons, never for output.
        split: ``"train"``, ``"val"``, ``"test"`` or another word of the cohort; empty without one.
        site: hospital, scanner or publication, empty where unknown.
        slices: slices of a scan that are used, ascending from 0, feet to head; None: all.
        series: SeriesInstanceUID where the path holds several series, empty else.
    """

    number: int
    path: Path
    label: str = ""
    subject: str = ""
    split: str = ""
    site: str = ""
    slices: tuple[int, ...] | None = None
    series: str = ""

    @property
    def id(self) -> str:
        """Name for outputs, free of patient identity: the row in the listing."""
        return f"row-{self.number:05d}"

    @property
    def subject_key(self) -> str:
        """Key for comparisons: an entry of unknown subject is a subject of its own, which no known one is."""
        return f"subject {self.subject}" if self.subject else self.id


@dataclass(frozen=True, slots=True)
class Scan:
    """The pixels of an entry.

    Attributes:
        entry: whose they are.
        stack: (D, H, W) float32 in [0, 1], grey, the slices that are used; D = 1 for an image.
        volume: the whole scan in its own values and geometry; None for images.
        info: what the headers of a DICOM series say; None for what is none.
    """

    entry: Entry
    stack: NDArray[np.float32]
    volume: Volume | None = None
    info: SeriesInfo | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry that could not be read.

    Attributes:
        entry: which.
        reason: one sentence, which may name the entry's own files: for the terminal of the person who named them.
    """

    entry: Entry
    reason: str

    @property
    def told(self) -> str:
        """The sentence with the row that it is about."""
        return self.reason if self.entry.id in self.reason else f"{self.entry.id}: {self.reason}"

    @property
    def public_reason(self) -> str:
        """The sentence for files: names of files may name a patient, and are left out."""
        return anonymous(self.reason, self.entry.path)


def read_listing(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    columns: Mapping[str, str | None] | None = None,
    subject_pattern: str | None = None,
    scans: bool = False,
    label_from_folder: bool = False,
) -> tuple[Entry, ...]:
    """List a cohort from a table, or from folders of pictures, DICOM series and volumes.

    A table needs the column ``path`` (relative to its folder) and may have ``label``, ``subject``, ``split``, ``site``,
    ``slices`` (those that are used, as ``covidct curate`` writes them) and ``series_uid``. In a folder, the first
    folder below it that is called by a class word (:data:`covidct.labels.WORDS`) gives the label, one called train, val
    or test at the top the split; other folders may be patients, and give nothing unless that is asked for.

    Args:
        source: CSV or Parquet; a folder; or several folders, scans and pictures.
        columns: other names of columns, such as ``{"label": "class"}``; None keeps the name.
        subject_pattern: regular expression whose first group is the patient, searched in the name of the file; for
            cohorts that have patients in names only. Where it does not match the subject is unknown.
        scans: in a folder, take each folder with pictures as one scan, whose slices they are.
        label_from_folder: the first folder (below train, val or test) is the class, whatever its name.

    Returns:
        The entries, in the table's order or the natural order of names.

    Raises:
        ManifestError: when the table cannot be read, is empty, or lacks a column that is asked for.
        InputError: when a folder holds no image.
        UsageError: for an unknown column, columns without a table, a table among other sources, a path that is not
            there, a pattern that does not compile, or one without a group.
    """
    pattern = _compile(subject_pattern)  # a fault is said before anything is read
    sources = [Path(source)] if isinstance(source, str | os.PathLike) else [Path(one) for one in source]
    tables = [path for path in sources if is_table(path)]
    columns = columns or {}
    if tables and len(sources) > 1:
        raise UsageError(f"Give one table alone, or scans and folders: {tables[0].name} stands among other sources.")
    if tables:
        entries = _from_table(tables[0], columns)
    elif any(name is not None for name in columns.values()):
        raise UsageError("Columns belong to a table: give one, or leave out the options that name columns.")
    else:
        places = places_of_folders(sources, scans=scans, label_from_folder=label_from_folder)
        entries = tuple(
            Entry(number, place.path, place.label, split=place.split, series=place.series)
            for number, place in enumerate(places, start=1)
        )
    return entries if pattern is None else tuple(_with_subject(entry, pattern) for entry in entries)


def iterate_scans(
    entries: Sequence[Entry],
    *,
    window: tuple[float, float] = LUNG_WINDOW,
    on_fault: OnFault = "error",
    workers: int | None = None,
    unreadable: list[Unreadable] | None = None,
) -> Iterator[Scan]:
    """Read entries in their order, a few ahead by threads: memory does not depend on the size of the cohort.

    Args:
        entries: what to read.
        window: (low, high) in HU that becomes [0, 1]; images are in display values already.
        on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.
        workers: threads; None: one per core, at most 8.
        unreadable: where entries that cannot be read are put, and the pass goes on; None raises instead.

    Returns:
        The scans, one after the other.

    Raises:
        UsageError: for a window that is none, before anything is read.
        CovidctError: for an entry that cannot be read, without ``unreadable``.
    """
    check_window(*window)
    check_on_fault(on_fault)
    threads = min(8, os.cpu_count() or 1) if workers is None else max(1, workers)
    return _scans(entries, window, on_fault, threads, unreadable)


def _scans(
    entries: Sequence[Entry],
    window: tuple[float, float],
    on_fault: OnFault,
    threads: int,
    unreadable: list[Unreadable] | None,
) -> Iterator[Scan]:
    """The scans that can be read."""

    def read(entry: Entry) -> Scan | CovidctError:
        try:
            return read_stack(entry, window=window, on_fault=on_fault)
        except CovidctError as error:
            return error

    for entry, scan in _ahead(read, entries, threads):
        if isinstance(scan, Scan):
            yield scan
        elif unreadable is None:
            raise scan
        else:
            unreadable.append(Unreadable(entry, str(scan)))


def read_stack(entry: Entry, *, window: tuple[float, float] = LUNG_WINDOW, on_fault: OnFault = "error") -> Scan:
    """Read one entry.

    Args:
        entry: an image, a volume, or a folder of slices.
        window: (low, high) in HU that becomes [0, 1].
        on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.

    Returns:
        Its pixels; colour becomes grey by the weights of ITU-R BT.601.

    Raises:
        InputError: when it is missing, damaged or no image; named by its row, not by its file.
    """
    if not entry.path.exists():
        raise InputError(f"{entry.id}: there is no such file or folder; paths are relative to the table's folder.")
    if not holds_scan(entry.path):
        return Scan(entry, np.ascontiguousarray(to_grey(read_image(entry.path).array))[None])
    volume, info = read_scan_with_info(entry.path, series=entry.series or None, on_fault=on_fault)
    used = volume.array
    if entry.slices is not None:
        if entry.slices[-1] >= len(used):
            raise InputError(
                f"{entry.id}: the column slices names slice {entry.slices[-1]}, the scan has {len(used)}, counted from "
                "0: correct the table."
            )
        used = used[list(entry.slices)]
    unit = window_hu(used, *window) if volume.intensity == "hu" else used.astype(np.float32)
    return Scan(entry, unit, volume, info)


def holds_scan(path: Path) -> bool:
    """Whether a path is a folder of slices or a file of a volume, rather than a single picture."""
    return path.is_dir() or path.name.lower().endswith(VOLUME_NAMES)


def _ahead(
    read: Callable[[Entry], Scan | CovidctError], entries: Sequence[Entry], threads: int
) -> Iterator[tuple[Entry, Scan | CovidctError]]:
    """Results in order, ``threads`` of them in work while one is used."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque((entry, pool.submit(read, entry)) for entry in entries[:threads])
        following = iter(entries[threads:])
        try:
            while waiting:
                entry, future = waiting.popleft()
                result = future.result()
                waiting.extend((other, pool.submit(read, other)) for other in islice(following, 1))
                yield entry, result
        finally:
            for _, future in waiting:
                future.cancel()


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    """The pattern, checked."""
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"subject_pattern={pattern!r} is no regular expression ({error}): correct it.") from error
    if not compiled.groups:
        raise UsageError(f"subject_pattern={pattern!r} has no group: put the patient's part in parentheses.")
    return compiled


def _with_subject(entry: Entry, pattern: re.Pattern[str]) -> Entry:
    """The entry with the subject that its file name tells."""
    found = pattern.search(entry.path.name)
    return replace(entry, subject=(found.group(1) or "") if found else "")


def _from_table(path: Path, columns: Mapping[str, str | None]) -> tuple[Entry, ...]:
    """Entries of a table."""
    entries = []
    for number, row in enumerate(rows_of_table(path, columns), start=1):
        try:
            slices = parse_slices(row["slices"]) or None
        except ManifestError as error:
            raise ManifestError(f"The manifest {path.name}, row {number}: {error}") from error
        words = (row["label"], row["subject"], row["split"].lower(), row["site"])
        entries.append(Entry(number, path.parent / row["path"], *words, slices, row["series_uid"]))
    return tuple(entries)
