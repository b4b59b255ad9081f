"""``discover``: the scans among files, folders and zips, without decoding a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.errors import CovidctError, InputError, UsageError
from covidct.io.dicom_header import looks_like_dicom
from covidct.io.names import natural_key
from covidct.io.raster import IMAGE_SUFFIXES
from covidct.io.scan import VOLUME_NAMES, find_series

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ("ScanInput", "discover", "is_dicom", "no_scan")

_DICOM = (".dcm", ".dicom", ".dc3", ".ima")
_LEAST = 3  # slices of a volume
_START = 136  # bytes that tell


@dataclass(frozen=True, slots=True)
class ScanInput:
    """One scan to be read.

    Attributes:
        path: what :func:`covidct.io.read_scan` is given.
        series: SeriesInstanceUID where the path holds several series, else None.
    """

    path: Path
    series: str | None = None


def no_scan(names: str) -> InputError:
    """The error for files and folders, as they are called, without a scan."""
    return InputError(f"There is no scan in {names}: give DICOM, NIfTI, NRRD, MetaImage or pictures.")


def discover(paths: Iterable[Path], *, single_pictures: bool = False) -> tuple[ScanInput, ...]:
    """Find the scans in what the user named.

    A file or zip is taken as it is. In a folder these are scans: each DICOM series (the folder with its sub-folders
    when DICOM lies in it directly, else each sub-folder by itself), each volume file, each zip, and each folder of PNG,
    JPEG, TIFF or BMP slices. Anything else in it is passed over, hidden files too. An input that holds several series
    gives one scan each.

    Args:
        paths: files and folders.
        single_pictures: take each picture of a folder, and each file of a DICOM series of fewer than three
            slices, by itself.

    Returns:
        The scans in natural order, each once.

    Raises:
        UsageError: when a path does not exist.
        InputError: when there is no scan in any of them.
    """
    paths = tuple(paths)
    found: dict[ScanInput, None] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"There is no file or folder {path}: check the path.")
        found.update(dict.fromkeys(_search(path, single_pictures=single_pictures) if path.is_dir() else _parts(path)))
    if not found:
        names = ", ".join(map(str, paths))
        raise no_scan(names)
    return tuple(found)


def _search(folder: Path, above: frozenset[Path] = frozenset(), *, single_pictures: bool) -> Iterator[ScanInput]:
    """Scans of a folder; links are followed, but not back to a folder that is being searched (``above``)."""
    here = above | {folder.resolve()}
    files: list[Path] = []
    folders: list[Path] = []
    for entry in sorted(folder.iterdir(), key=_by_name):
        if not entry.name.startswith("."):
            (folders if entry.is_dir() else files).append(entry)
    pictures = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    others = [file for file in files if file.suffix.lower() not in IMAGE_SUFFIXES]
    if any(is_dicom(file) for file in others):
        yield from _parts(folder, single_pictures=single_pictures)
        yield from (ScanInput(file) for file in sorted(folder.rglob("*"), key=_by_name) if _is_volume(file))
        return
    yield from (ScanInput(file) for file in others if _is_volume(file))
    if single_pictures:
        yield from (ScanInput(file) for file in pictures)
    elif pictures:
        yield ScanInput(folder)
    for inner in folders:
        if inner.resolve() not in here:
            yield from _search(inner, here, single_pictures=single_pictures)


def _parts(path: Path, *, single_pictures: bool = False) -> Iterator[ScanInput]:
    """One scan a series; an input that cannot be listed stays one scan, and reading it will say why."""
    try:
        series = [info for info in find_series(path) if info.uid]
    except CovidctError:
        series = []
    flat = [info for info in series if info.shape[0] < _LEAST] if single_pictures and path.is_dir() else []
    yield from (ScanInput(file) for file in sorted((file for info in flat for file in info.files), key=_by_name))
    if len(series) < 2 and not flat:
        yield ScanInput(path)
    else:
        yield from (ScanInput(path, info.uid) for info in series if info not in flat)


def _is_volume(file: Path) -> bool:
    """Does the name say that this is a volume or a zip."""
    return file.name.lower().endswith(VOLUME_NAMES) and not file.name.startswith(".") and file.is_file()


def is_dicom(file: Path) -> bool:
    """Does the name or the first bytes say that this is DICOM.

    Args:
        file: any file; one that cannot be read is none.
    """
    if file.suffix.lower() in _DICOM:
        return True
    try:
        with file.open("rb") as stream:
            return looks_like_dicom(stream.read(_START))
    except OSError:
        return False


def _by_name(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key of a path: natural order."""
    return natural_key(str(path))
