"""Tables and lists that published data sets come with: comma-separated tables, and text files that name a split."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

from covidct.datasets.splits import SPLITS
from covidct.errors import ManifestError, UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from covidct.datasets.base import Split

__all__ = ("SplitLine", "check_split_files", "read_columns", "read_split_files")


@dataclass(frozen=True, slots=True)
class SplitLine:
    """One line of a split file.

    Attributes:
        split: the part that the file lists.
        place: the line in words, for messages.
        fields: the other words of the line.
    """

    split: Split
    place: str
    fields: tuple[str, ...]


def check_split_files(files: Mapping[str, str | os.PathLike[str]] | None) -> dict[Split, Path]:
    """Part to text file, without looking at the files.

    Raises:
        UsageError: when a part is not train, val or test.
    """
    unknown = [part for part in files or {} if part not in SPLITS]
    if unknown:
        raise UsageError(f"split_files has the part {unknown[0]!r}: name the files of train, val and test.")
    return {cast("Split", part): Path(file) for part, file in (files or {}).items()}


def read_split_files(files: Mapping[Split, Path], *, name_at: int = 0) -> dict[str, SplitLine]:
    """Read the files of a split: one file name a line, and what the data set says of it, separated by blanks.

    Args:
        files: part to text file (UTF-8).
        name_at: place of the file name in a line, from 0; a line of fewer words is taken for the name alone.

    Returns:
        File name, without folders, to its line; in the order of the files.

    Raises:
        ManifestError: when a file cannot be read or is empty, or a name is there twice.
    """
    found: dict[str, SplitLine] = {}
    for split, file in files.items():
        lines = [line.split() for line in _text(file).splitlines()]
        if not any(lines):
            raise ManifestError(f"The split file {file.name} is empty: give one file name per line.")
        for number, fields in ((number, line) for number, line in enumerate(lines, start=1) if line):
            name = fields.pop(min(name_at, len(fields) - 1))
            line = SplitLine(split, f"line {number} of {file.name}", tuple(fields))
            other = found.setdefault(PurePosixPath(name.replace("\\", "/")).name, line)
            if other is not line:
                raise ManifestError(f"The split names {name} in {other.place} and in {line.place}: keep one of them.")
    return found


def read_columns(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read some columns of a comma-separated table with a header; letters of either case, blanks around cells dropped.

    Args:
        file: the table (UTF-8).
        columns: names in lower case; all of them must be there.

    Returns:
        One dict per row.

    Raises:
        ManifestError: when the table cannot be read, or lacks a column or a cell.
    """
    header, *lines = [line for line in csv.reader(_text(file).splitlines(), skipinitialspace=True) if line] or [[]]
    names = [name.strip().lower() for name in header]
    for column in columns:
        if column not in names:
            raise ManifestError(f"The table {file.name} has no column {column!r}: give the published file.")
    places = {column: names.index(column) for column in columns}
    short = next((number for number, line in enumerate(lines, start=1) if len(line) < len(names)), None)
    if short is not None:
        raise ManifestError(f"Row {short} of the table {file.name} has too few cells: give the published file.")
    return [{column: line[place].strip() for column, place in places.items()} for line in lines]


def _text(file: Path) -> str:
    """A text file as one string."""
    if not file.is_file():
        raise ManifestError(f"There is no file {file}: give the file that comes with the data set.")
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"The file {file.name} cannot be read as text ({error}): download it again.") from error
