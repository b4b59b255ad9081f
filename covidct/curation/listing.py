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
from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct.datasets.table import read_cells
from covidct.errors import CovidctError, InputError, ManifestError, UsageError
from covidct.functional import window_hu
from covidct.io import read_image, read_scan
from covidct.io.names import natural_key
from covidct.io.raster import IMAGE_SUFFIXES, to_grey
from covidct.io.scan import VOLUME_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.volume import Volume

__all__ = ("Entry", "Scan", "Unreadable", "iterate_scans", "read_listing", "read_stack", "with_subjects")

_COLUMNS = ("path", "label", "subject", "split", "site")
_SPLITS = ("train", "val", "test")

OnFault = Literal["error", "repair", "warn"]


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
    """

    number: int
    path: Path
    label: str = ""
    subject: str = ""
    split: str = ""
    site: str = ""

    @property
    def id(self) -> str:
        """Name for outputs, free of patient identity: the row in the listing."""
        return f"row-{self.number:05d}"


@dataclass(frozen=True, slots=True)
class Scan:
    """The pixels of an entry.

    Attributes:
        entry: whose they are.
        stack: (D, H, W) float32 in [0, 1], grey; D = 1 for an image.
        volume: the scan in its own values and geometry; None for images.
    """

    entry: Entry
    stack: NDArray[np.float32]
    volume: Volume | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry that could not be read.

    Attributes:
        entry: which.
        reason: one sentence.
    """

    entry: Entry
    reason: str


def read_listing(
    source: str | os.PathLike[str],
    *,
    columns: Mapping[str, str | None] | None = None,
    subject_pattern: str | None = None,
    scans: bool = False,
) -> tuple[Entry, ...]:
    """List a cohort from a table or from folders named after classes.

    A table needs the column ``path`` (relative to its folder) and may have ``label``, ``subject``, ``split`` and
    ``site``. Of a folder every image is an entry; the first folder below it gives the label, unless it is called train,
    val or test: then it gives the split, and the next one the label.

    Args:
        source: CSV or Parquet, or a folder.
        columns: other names of columns, such as ``{"label": "class"}``; None keeps the name.
        subject_pattern: regular expression whose first group is the patient, searched in the name of the file; for
            cohorts that have patients in names only. Where it does not match the subject is unknown.
        scans: in a folder, take each folder with images as one scan, whose slices they are.

    Returns:
        The entries, in the table's order or the natural order of names.

    Raises:
        ManifestError: when the table cannot be read, is empty, or lacks a column that is asked for.
        InputError: when a folder has no image.
        UsageError: for an unknown column, a pattern that does not compile, or one without a group.
    """
    _compile(subject_pattern)  # a fault is said before anything is read
    named = {column: name for column, name in (columns or {}).items() if name is not None}
    renamed = {column: named.get(column, column).lower() for column in _COLUMNS}
    if unknown := set(named) - set(_COLUMNS):
        raise UsageError(f"The column {min(unknown)!r} is unknown: name columns for {', '.join(_COLUMNS)}.")
    path = Path(source)
    entries = _from_folder(path, scans=scans) if path.is_dir() else _from_table(path, renamed, asked=set(named))
    return with_subjects(entries, subject_pattern)


def with_subjects(entries: Sequence[Entry], subject_pattern: str | None) -> tuple[Entry, ...]:
    """Entries with the subjects that their file names tell, see :func:`read_listing`; None leaves them as they are.

    Raises:
        UsageError: for a pattern that does not compile, or one without a group.
    """
    pattern = _compile(subject_pattern)
    return tuple(entries) if pattern is None else tuple(_with_subject(entry, pattern) for entry in entries)


def iterate_scans(
    entries: Sequence[Entry],
    *,
    window: tuple[float, float] = (-1250.0, 250.0),
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

    Yields:
        The scans.

    Raises:
        CovidctError: for an entry that cannot be read, without ``unreadable``.
    """
    threads = min(8, os.cpu_count() or 1) if workers is None else max(1, workers)

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


def read_stack(entry: Entry, *, window: tuple[float, float] = (-1250.0, 250.0), on_fault: OnFault = "error") -> Scan:
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
    if not (entry.path.is_dir() or entry.path.name.lower().endswith(VOLUME_NAMES)):
        return Scan(entry, np.ascontiguousarray(to_grey(read_image(entry.path).array))[None])
    volume = read_scan(entry.path, on_fault=on_fault)
    unit = window_hu(volume.array, *window) if volume.intensity == "hu" else volume.array.astype(np.float32)
    return Scan(entry, unit, volume)


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


def _from_table(path: Path, renamed: Mapping[str, str], *, asked: set[str]) -> tuple[Entry, ...]:
    """Entries of a table; only the path is needed."""
    names, lines = read_cells(path)
    for column in sorted({"path", *asked}):
        if renamed[column] not in names:
            raise ManifestError(
                f"The manifest {path.name} has no column {renamed[column]!r} for {column}: its columns are "
                f"{', '.join(names)}."
            )
    if not lines:
        raise ManifestError(f"The manifest {path.name} has no rows: list one scan or image per row.")
    cells = [{column: line.get(name, "").strip() for column, name in renamed.items()} for line in lines]
    empty = next((number for number, cell in enumerate(cells, start=1) if not cell["path"]), None)
    if empty is not None:
        raise ManifestError(f"The manifest {path.name}, row {empty}: the column path is empty; every row needs one.")
    return tuple(
        Entry(number, path.parent / cell["path"], cell["label"], cell["subject"], cell["split"].lower(), cell["site"])
        for number, cell in enumerate(cells, start=1)
    )


def _from_folder(folder: Path, *, scans: bool) -> tuple[Entry, ...]:
    """Entries of folders named after classes."""
    images = [
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    ]
    found = {file.parent for file in images} if scans else images
    if not found:
        raise InputError(f"There is no image in {folder.name}: give a folder of PNG, JPEG or TIFF files, or a table.")
    places = sorted(found, key=lambda place: [natural_key(part) for part in place.relative_to(folder).parts])
    entries = []
    for number, place in enumerate(places, start=1):
        parts = list(place.relative_to(folder).parts if scans else place.relative_to(folder).parts[:-1])
        split = parts.pop(0).lower() if parts and parts[0].lower() in _SPLITS else ""
        entries.append(Entry(number, place, label=parts[0] if parts else "", split=split))
    return tuple(entries)
