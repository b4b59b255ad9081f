"""What the file names and the tables of COVID-CT say: which image it is, and whose."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from covidct.datasets.published_tables import read_columns
from covidct.errors import ManifestError
from covidct.io.raster import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("image_key", "named_subject", "read_patients")

_CASE = re.compile(r"(\d+)_\d+")  # CT_NonCOVID: crawled case, image
_FIGURE = re.compile(r"(.+?)(?:_\d+)+|(.+-p\d+-\d+)-\d+")  # CT_COVID: figure of an article, panels


def image_key(name: str) -> str:
    """What is the same in every spelling of an image's name.

    The split files say ``10%0.jpg`` where mirrors have a file ``10_0.png``, and rows of the published tables have no
    suffix.

    Args:
        name: file name or path.
    """
    last = PurePosixPath(name.strip().replace("\\", "/")).name
    stem, dot, suffix = last.rpartition(".")
    return (stem if f"{dot}{suffix}".lower() in IMAGE_SUFFIXES else last).replace("%", "_")


def named_subject(key: str, part: str | None) -> str:
    """Whose image it is, as far as its name tells.

    ``10_0`` and ``10_1`` of the crawled cases are of one patient (``NonCOVID-CT-MetaInfo.csv`` calls it 10). Panels of
    one figure of an article may be of several; they are one subject within a part, as the publishers split by patient.

    Args:
        key: of :func:`image_key`.
        part: that the split files put the image into.

    Returns:
        The case, the figure, or the image itself where it is no panel.
    """
    if case := _CASE.fullmatch(key):
        return f"case {case[1]}"
    figure = _FIGURE.fullmatch(key)
    return f"figure {figure[1] or figure[2]} of {part}" if figure else key


def read_patients(table: Path, *, image: str, patient: str) -> dict[str, str]:
    """Read a table of patients.

    Args:
        table: path without suffix; ``.csv`` is taken before ``.xlsx``.
        image: name of the column with file names, in lower case.
        patient: name of the column with patients, in lower case.

    Returns:
        Key of the image to patient; empty without a table.

    Raises:
        ManifestError: when the table cannot be read, lacks a column, or names an image twice with two patients.
    """
    file = next((path for path in (table.with_suffix(".csv"), table.with_suffix(".xlsx")) if path.is_file()), None)
    if file is None:
        return {}
    rows: list[dict[str, str]] | list[Mapping[str, str]]
    rows = read_columns(file, (image, patient)) if file.suffix == ".csv" else _read_sheet(file, (image, patient))
    found: dict[str, str] = {}
    for row in rows:
        if row[image] and row[patient]:
            key = image_key(row[image])
            if found.setdefault(key, row[patient]) != row[patient]:
                raise ManifestError(f"{file.name} gives {row[image]} to two patients: keep one row.")
    return found


def _read_sheet(file: Path, columns: tuple[str, str]) -> list[Mapping[str, str]]:
    """Two columns of the first sheet of a spreadsheet."""
    import pandas as pd

    try:
        sheet = pd.read_excel(file, dtype=str).fillna("")
    except (ImportError, KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ManifestError(
            f"The table of patients {file.name} cannot be read ({str(error).splitlines()[0]}): save it as "
            f"{file.with_suffix('.csv').name}, or install openpyxl."
        ) from error
    sheet.columns = [str(name).strip().lower() for name in sheet.columns]
    missing = [column for column in columns if column not in sheet.columns]
    if missing:
        raise ManifestError(f"The table {file.name} has no column {missing[0]!r}: give the published file.")
    return [{column: str(row[column]).strip() for column in columns} for _, row in sheet.iterrows()]
