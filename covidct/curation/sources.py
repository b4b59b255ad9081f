"""Where a cohort is listed: the cells of a table, or what lies in folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.datasets.splits import SPLITS
from covidct.datasets.table import read_cells
from covidct.errors import ManifestError, UsageError
from covidct.io.discover import discover, is_dicom
from covidct.io.raster import IMAGE_SUFFIXES
from covidct.io.scan import VOLUME_NAMES
from covidct.labels import WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ("COLUMNS", "Place", "is_table", "places_of_folders", "rows_of_table")

COLUMNS = ("path", "label", "subject", "split", "site", "slices", "series_uid")
"""Columns that mean something; only the first is needed."""

_TABLES = (".csv", ".parquet", ".pq")
_UNKNOWN = frozenset({"nan", "na", "n/a", "<na>", "none", "null"})  # what programs write into empty cells


@dataclass(frozen=True, slots=True)
class Place:
    """A scan or picture in a folder.

    Attributes:
        path: where it lies.
        series: SeriesInstanceUID where the path holds several series, empty else.
        label: class by the folders it lies in, empty where they do not tell.
        split: train, val or test by the first folder, empty where that is called otherwise.
    """

    path: Path
    series: str = ""
    label: str = ""
    split: str = ""


def is_table(source: Path) -> bool:
    """Whether a source is a table by its name, or a file that is nothing else that is known."""
    if source.suffix.lower() in _TABLES:
        return not source.is_dir()
    known = source.name.lower().endswith((*VOLUME_NAMES, *IMAGE_SUFFIXES))
    return source.is_file() and not known and not is_dicom(source)


def rows_of_table(path: Path, columns: Mapping[str, str | None]) -> list[dict[str, str]]:
    """Cells of a table by the columns of :data:`COLUMNS`; what is absent, or a program's word for nothing, is empty.

    Args:
        path: CSV or Parquet.
        columns: other names of columns; None keeps the name.

    Raises:
        ManifestError: when the table cannot be read, is empty, or lacks a path or a column that is asked for.
        UsageError: for an unknown column.
    """
    asked = {column: name.lower() for column, name in columns.items() if name is not None}
    if unknown := set(asked) - set(COLUMNS):
        raise UsageError(f"The column {min(unknown)!r} is unknown: name columns for {', '.join(COLUMNS)}.")
    names, lines = read_cells(path)
    for column in sorted({"path", *asked}):
        if (name := asked.get(column, column)) not in names:
            raise ManifestError(
                f"The manifest {path.name} has no column {name!r} for {column}: its columns are {', '.join(names)}."
            )
    if not lines:
        raise ManifestError(f"The manifest {path.name} has no rows: list one scan or image per row.")
    rows = [{column: line.get(asked.get(column, column), "").strip() for column in COLUMNS} for line in lines]
    for number, row in enumerate(rows, start=1):
        if not row["path"]:
            raise ManifestError(
                f"The manifest {path.name}, row {number}: the column path is empty; every row needs one."
            )
        row.update({column: "" for column in COLUMNS[1:] if row[column].lower() in _UNKNOWN})
    return rows


def places_of_folders(sources: Sequence[Path], *, scans: bool, label_from_folder: bool) -> list[Place]:
    """What lies in folders, see :func:`covidct.io.discover`, with what the folders above it tell.

    A folder may be named after a patient, and labels are written: so a folder gives the label only where its name is a
    class word, unless the user says that the first one is the class. The folder that is a scan itself never does.

    Args:
        sources: folders, or single scans and pictures.
        scans: take each folder of pictures as one scan, not each picture.
        label_from_folder: the first folder, below one called train, val or test, is the class whatever its name.

    Raises:
        UsageError: when a path does not exist.
        InputError: when there is nothing in any of them.
    """
    places = []
    for found in discover(sources, single_pictures=not scans):
        above = next((source for source in sources if source.is_dir() and found.path.is_relative_to(source)), None)
        folders = [] if above is None else list(found.path.relative_to(above).parts[:-1])
        split = folders.pop(0).lower() if folders and folders[0].lower() in SPLITS else ""
        known = folders[:1] if label_from_folder else [name for name in folders if name.lower() in WORDS]
        places.append(Place(found.path, found.series or "", known[0] if known else "", split))
    return places
