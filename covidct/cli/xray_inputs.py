"""What ``covidct segment`` finds the lungs of X-rays in: files, folders, or the rows of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ("XRayInput", "find_xray_inputs")

TABLE_SUFFIXES = (".csv", ".parquet", ".pq")
"""Names that are taken for manifests."""

FILE_COLUMNS = ("path", "lesion_mask", "slice_labels")
"""Columns of a manifest that name files, but the mask, which is made anew."""


@dataclass(frozen=True, slots=True)
class XRayInput:
    """One X-ray.

    Attributes:
        path: what is read.
        cells: of its row in a manifest, files as absolute paths; of a file or folder only ``path``.
        fault: why it cannot be used, as far as the manifest says; empty else.
    """

    path: Path
    cells: Mapping[str, str]
    fault: str = ""


def find_xray_inputs(paths: Sequence[Path], *, out: Path) -> list[XRayInput]:
    """Look through files, folders with all below them, or one manifest.

    Args:
        paths: PNG, JPEG, TIFF, BMP and DICOM files, folders of them; or a manifest (CSV, Parquet) alone.
        out: folder of the results, which is left out.

    Raises:
        UsageError: when a path does not exist, a manifest stands beside others, or there is no X-ray.
        ManifestError: when the manifest cannot be read, or has no column ``path`` or an empty cell in it.
    """
    tables = [path for path in paths if path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir()]
    if tables and len(paths) > 1:
        raise UsageError(f"{tables[0]} is a manifest: name it alone, X-rays beside it belong into its rows.")
    found = _rows(tables[0]) if tables else [XRayInput(file, {"path": str(file)}) for file in _files(paths, out)]
    if not found:
        raise UsageError("There is no X-ray in what was named: give PNG, JPEG, TIFF or DICOM files.")
    return found


def _rows(table: Path) -> list[XRayInput]:
    """The rows of a manifest."""
    from covidct.datasets.table import read_cells
    from covidct.datasets.views import is_frontal

    names, lines = read_cells(table)
    if "path" not in names:
        raise ManifestError(f"The manifest {table.name} has no column path: it names the X-ray of each row.")
    found = []
    for number, line in enumerate(lines, start=1):
        cells = {name: value.strip() for name, value in line.items()}
        if not cells["path"]:
            raise ManifestError(f"The manifest {table.name}, row {number}: the column path is empty.")
        cells |= {name: str((table.parent / cells[name]).absolute()) for name in FILE_COLUMNS if cells.get(name)}
        view = cells.get("view", "")
        fault = "" if is_frontal(view) else f"Row {number} is a view {view!r}, not a frontal one: take it out."
        found.append(XRayInput(Path(cells["path"]), cells, fault))
    return found


def _files(paths: Iterable[Path], out: Path) -> list[Path]:
    """Images in files and folders, each once, in the natural order of their names."""
    from covidct.io.discover import is_dicom
    from covidct.io.names import natural_key
    from covidct.io.raster import IMAGE_SUFFIXES

    found: dict[Path, None] = {}
    results = out.resolve()
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist: check the path.")
        if path.is_file():
            found[path.absolute()] = None
            continue
        files = [file for file in path.absolute().rglob("*") if file.is_file() and not _hidden(file, path.absolute())]
        for file in sorted(files, key=lambda file: [natural_key(part) for part in file.parts]):
            inside = results in file.resolve().parents
            if not inside and (file.suffix.lower() in IMAGE_SUFFIXES or is_dicom(file)):
                found[file] = None
    return list(found)


def _hidden(file: Path, folder: Path) -> bool:
    """Whether a file or a folder on the way to it is hidden."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
