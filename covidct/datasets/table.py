"""Reads and checks a cohort's table: everything that can be said before a pixel is read is said here."""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from covidct.datasets.kept_slices import parse_slices
from covidct.datasets.splits import SPLITS, subjects_in_several_parts
from covidct.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.datasets.base import Split
    from covidct.labels import ClassMap

__all__ = ("COLUMNS", "Row", "read_cells", "read_slice_labels", "read_table")

COLUMNS = (
    "path",
    "label",
    "subject",
    "split",
    "mask",
    "lesion_mask",
    "slice_labels",
    "site",
    "slices",
    "series_uid",
    "view",
)
"""Columns that mean something; the first three are needed, others are ignored."""

_log = logging.getLogger(__name__)
_NEEDED = COLUMNS[:3]
_FILES = ("path", "mask", "lesion_mask", "slice_labels")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, checked.

    Attributes:
        number: 1 for the first row below the header.
        path: the scan or image.
        label: index of the class, -1 when the cell is empty.
        subject: the cohort's own key of the patient.
        split: ``"train"``, ``"val"``, ``"test"`` or None.
        mask: lung mask file or None.
        lesion_mask: lesion mask file or None.
        slice_labels: file with one class per slice or None.
        site: hospital or scanner, empty where unknown.
        slices: slices of the scan that are used, ascending from 0, feet to head; None: all.
        series_uid: SeriesInstanceUID of the scan, where the path holds several series; empty else.
        view: projection of an X-ray as the table calls it; empty where unknown.
    """

    number: int
    path: Path
    label: int
    subject: str
    split: Split | None
    mask: Path | None
    lesion_mask: Path | None
    slice_labels: Path | None
    site: str
    slices: tuple[int, ...] | None = None
    series_uid: str = ""
    view: str = ""


def read_table(path: Path, *, classes: ClassMap, allow_subject_overlap: bool = False) -> tuple[Row, ...]:
    """Read a cohort's table.

    Args:
        path: CSV (UTF-8, with a header) or Parquet; paths in it are relative to its folder.
        classes: how the words of the column ``label`` become classes.
        allow_subject_overlap: take a table that has one subject in two splits, with a warning.

    Returns:
        The rows in the table's order.

    Raises:
        ManifestError: when the table cannot be read, is empty, lacks a column, names a file that does not exist, an
            unknown label or split, one path twice, or one subject in two splits.
    """
    names, lines = read_cells(path)
    missing = [column for column in _NEEDED if column not in names]
    if missing:
        raise ManifestError(
            f"The manifest {path.name} has no column {', '.join(missing)}: the columns path, label and subject are "
            "needed."
        )
    if not lines:
        raise ManifestError(f"The manifest {path.name} has no rows: list one scan or image per row.")
    cells = [{column: line.get(column, "").strip() for column in COLUMNS} for line in lines]
    rows = tuple(_row(number, cell, path, classes) for number, cell in enumerate(cells, start=1))
    _check_files(rows, cells, path)
    _check_unique(rows, path)
    _check_splits(rows, path, allow=allow_subject_overlap)
    return rows


def read_slice_labels(row: Row, *, classes: ClassMap) -> NDArray[np.int64]:
    """Classes of the slices of a scan, feet to head.

    The file has one entry per slice: a class word, ``1`` (infected: the scan's own class), ``0`` (clean: the class of
    ``normal``) or ``-1`` (unknown). It is a text file with one entry per line, or a ``.npy`` of numbers.

    Args:
        row: a row with ``slice_labels``.
        classes: how words become classes.

    Returns:
        (D,) int64, -1 unknown.

    Raises:
        ManifestError: when the file cannot be read or holds another entry.
    """
    file = cast("Path", row.slice_labels)
    try:
        if file.suffix == ".npy":
            entries = [f"{entry:g}" for entry in np.load(file, allow_pickle=False).ravel().tolist()]
        else:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
            entries = [line.strip() for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise ManifestError(f"Row {row.number}: the slice labels {file.name} cannot be read ({error}).") from error
    try:
        return np.array([_slice_class(entry, row.label, classes) for entry in entries], dtype=np.int64)
    except UsageError as error:
        raise ManifestError(
            f"Row {row.number}: the slice labels {file.name} hold an unknown entry: use class words, 1 (infected), "
            f"0 (clean) or -1 (unknown). {error}"
        ) from error


def _slice_class(entry: str, scan_label: int, classes: ClassMap) -> int:
    """Class of one entry."""
    if entry == "-1":
        return -1
    if entry == "1":
        return scan_label
    return classes.label("normal" if entry == "0" else entry)


def read_cells(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read the cells of a table, whatever its columns.

    Args:
        path: CSV (UTF-8, with a header) or Parquet.

    Returns:
        Names of the columns in small letters, and each row's cells as strings by column.

    Raises:
        ManifestError: when it cannot be read, a column of :data:`COLUMNS` comes twice, or a row is too long or short.
    """
    if not path.is_file():
        raise ManifestError(f"The manifest {path} does not exist: give a CSV or Parquet file.")
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            import pandas as pd

            frame = pd.read_parquet(path).convert_dtypes()  # whole numbers beside empty cells are stored as floats
            frame = frame.astype("string").fillna("")
            header, lines = [str(name) for name in frame.columns], frame.to_numpy().tolist()
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                header, *lines = [
                    line for line in csv.reader(file, skipinitialspace=True) if any(map(str.strip, line))
                ] or [[]]
    except (ValueError, OSError, csv.Error) as error:  # pyarrow's errors are ValueErrors or OSErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ManifestError(
            f"The manifest {path.name} cannot be read as a table ({reason}): give a CSV (UTF-8) or Parquet file."
        ) from error
    names = [name.strip().lower() for name in header]
    twice = [column for column in COLUMNS if names.count(column) > 1]
    if twice:
        raise ManifestError(f"The manifest {path.name} has the column {twice[0]} twice: keep the one that counts.")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(names):
            raise ManifestError(
                f"The manifest {path.name}, row {number} has {len(line)} cells, the header has {len(names)}: put "
                "names with commas into quotes."
            )
    return names, [dict(zip(names, line, strict=True)) for line in lines]


def _row(number: int, cell: dict[str, str], path: Path, classes: ClassMap) -> Row:
    """Check one row's own cells."""
    place = f"The manifest {path.name}, row {number}"
    for column in ("path", "subject"):
        if not cell[column]:
            raise ManifestError(f"{place}: the column {column} is empty; every scan needs one.")
    split = cell["split"].lower()
    if split not in ("", *SPLITS):
        raise ManifestError(f"{place}: the split {cell['split']!r} is unknown: use train, val or test.")
    try:
        label = classes.label(cell["label"]) if cell["label"] else -1
    except UsageError as error:
        raise ManifestError(f"{place}: {error}") from error
    try:
        slices = parse_slices(cell["slices"]) or None
    except ManifestError as error:
        raise ManifestError(f"{place}: {error}") from error
    files = {column: path.parent / cell[column] if cell[column] else None for column in _FILES}
    return Row(
        number=number,
        path=path.parent / cell["path"],
        label=label,
        subject=cell["subject"],
        split=cast("Split | None", split or None),
        mask=files["mask"],
        lesion_mask=files["lesion_mask"],
        slice_labels=files["slice_labels"],
        site=cell["site"],
        slices=slices,
        series_uid=cell["series_uid"],
        view=cell["view"],
    )


def _check_files(rows: tuple[Row, ...], cells: list[dict[str, str]], path: Path) -> None:
    """Every named file or folder must be there; the message counts them all."""
    missing = [
        (row.number, column, cell[column])
        for row, cell in zip(rows, cells, strict=True)
        for column in _FILES
        if cell[column] and not _exists(getattr(row, column))
    ]
    if missing:
        number, column, name = missing[0]
        further = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise ManifestError(
            f"The manifest {path.name}, row {number}: the {column.replace('_', ' ')} {name} does not exist{further}; "
            "paths are relative to the manifest's folder."
        )


def _exists(path: Path) -> bool:
    """Whether there is such a file or folder; a name that no file system takes is not there."""
    try:
        return path.exists()
    except OSError:
        return False


def _check_unique(rows: tuple[Row, ...], path: Path) -> None:
    """One scan must not be listed twice, it would count twice."""
    first: dict[tuple[Path, str], int] = {}
    for row in rows:
        other = first.setdefault((row.path.resolve(), row.series_uid), row.number)
        if other != row.number:
            raise ManifestError(
                f"The manifest {path.name}: rows {other} and {row.number} name the same file; list every scan once."
            )


def _check_splits(rows: tuple[Row, ...], path: Path, *, allow: bool) -> None:
    """A split is given for all rows or none, and one subject stays in one part."""
    given = [row for row in rows if row.split]
    if given and len(given) < len(rows):
        number = next(row.number for row in rows if not row.split)
        raise ManifestError(
            f"The manifest {path.name}, row {number}: the split is empty, {len(given)} other rows have one; fill the "
            "column or leave it out."
        )
    parts: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in given:
        parts[str(row.split)].append((row.subject, row.number))
    shared = subjects_in_several_parts(parts)
    if not shared:
        return
    first = min(shared.values(), key=lambda numbers: min(each[0] for each in numbers.values()))
    shown = " and ".join(f"row {numbers[0]} ({part})" for part, numbers in first.items())
    fault = f"The manifest {path.name} puts {len(shared)} subject(s) into more than one split, first in {shown}"
    if not allow:
        raise ManifestError(
            f"{fault}: put every subject into one split only (what overlaps on purpose needs "
            "allow_subject_overlap=True of the data set)."
        )
    _log.warning("%s: scores on this split are too good to be true (allow_subject_overlap=True).", fault)
