"""What the files of an entry tell beside the pixels: format, size, kind of scanner, and in which months they were used.

Nothing here names a file or a person, and no date is finer than its month.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.errors import CovidctError
from covidct.io import find_series
from covidct.io.raster import IMAGE_SUFFIXES, image_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from covidct.curation.listing import Entry, Scan
    from covidct.io import SeriesInfo

__all__ = ("FileFacts", "coarse_months", "file_facts", "file_months", "files_of")

_LEAST = 5  # series of a month and class, below which counts are by year: fewer may be one patient (recommendation)
TIMES = ("created", "modified", "accessed")
_STAT = {"created": "st_birthtime", "modified": "st_mtime", "accessed": "st_atime"}
_BITS = {"1": 1, "L": 8, "P": 8, "LA": 8, "RGB": 8, "RGBA": 8, "CMYK": 8, "YCbCr": 8, "I;16": 16, "I": 32, "F": 32}
_EXIF_TAG = 34665  # TIFF 6.0, Exif IFD
_NO_TEXT = ("compression", "Software")  # of TIFF; and what most programs write about themselves
_FLAGS = {"icc_profile": "icc", "dpi": "resolution", "progressive": "progressive", "interlace": "progressive"}


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The files of one entry.

    Attributes:
        format: ``"png"``, ``"jpeg"``, ``"tiff"``, ``"bmp"``, ``"dicom"``, ``"nifti"``, ``"nrrd"``, ``"metaimage"``;
            empty where unknown.
        files: how many.
        bytes: of all of them.
        bits: per value, as stored in images; 0 where the header of another format would have to be asked.
        channels: as stored in images; 0 as above.
        quantisation: mean of the first quantisation table of a JPEG, the coarser the larger; 0 for other formats.
        flags: what a header holds: ``"exif"``, ``"icc"``, ``"resolution"``, ``"text"``, ``"progressive"``,
            ``"palette"`` of images; ``"kernel"``, ``"scanner"``, ``"date"``, ``"contrast"`` of DICOM.
        spacing: mm between (slices, rows, columns) by the headers, NaN where unknown.
        kernel: reconstruction kernel, empty where unknown.
        scanner: manufacturer and model, empty where unknown.
        acquired: month of acquisition, empty where unknown; for counts over a cohort, not for a row of its own.
    """

    format: str
    files: int
    bytes: int
    bits: int = 0
    channels: int = 0
    quantisation: float = 0.0
    flags: frozenset[str] = frozenset()
    spacing: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    kernel: str = ""
    scanner: str = ""
    acquired: str = field(default="", repr=False)


def file_facts(scan: Scan) -> FileFacts:
    """Read the headers of a scan's files; no pixel is decoded.

    Args:
        scan: a scan that was read.

    Returns:
        What they tell; what cannot be read is unknown.
    """
    path = scan.entry.path
    kind = scan.volume.source.format if scan.volume is not None and scan.volume.source is not None else ""
    if kind == "raster" or (not kind and path.suffix.lower() in IMAGE_SUFFIXES):
        files = image_files(path) if path.is_dir() else (path,)
        return _of_images(files)
    info = scan.info or _listed(path)
    if info is None:
        return FileFacts(kind, 1, _size(files_of(path)))
    known = {"kernel": info.kernel, "scanner": info.scanner, "date": info.acquired, "contrast": info.contrast_basis}
    return FileFacts(
        info.format,
        info.file_count,
        _size(info.files if all(file.is_file() for file in info.files) else files_of(path)),
        flags=frozenset(name for name, value in known.items() if value),
        spacing=info.spacing,
        kernel=info.kernel,
        scanner=info.scanner,
        acquired=info.acquired,
    )


def file_months(entries: Sequence[Entry]) -> dict[str, Counter[tuple[str, str]]]:
    """Count files by month of creation, last change and last access, and label.

    To be called before anything is read, since reading is an access. Times are those of the copy at hand: unpacking or
    copying a data set sets them anew, and many systems keep accesses only coarsely, or not at all.

    Args:
        entries: of a cohort; what is missing is left out.

    Returns:
        ``"created"``, ``"modified"``, ``"accessed"`` to (month, label) to files, in UTC. ``"created"`` is empty where
        the operating system or the file system tells no time of creation (Python tells none on Linux).
    """
    found: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in TIMES}
    for entry in entries:
        for file in files_of(entry.path):
            try:
                status = file.stat()
            except OSError:
                continue
            for name, attribute in _STAT.items():
                seconds = getattr(status, attribute, None)
                if seconds is not None:
                    found[name][f"{datetime.fromtimestamp(seconds, UTC):%Y-%m}", entry.label] += 1
    return found


def coarse_months(counts: Mapping[tuple[str, str], int]) -> Counter[tuple[str, str]]:
    """Counts by (month, label), those of fewer than five by (year, label), since a few may be told from a month.

    Args:
        counts: (month such as ``"2020-03"``, label) to how many.
    """
    found: Counter[tuple[str, str]] = Counter()
    for (month, label), count in counts.items():
        found[month if count >= _LEAST else month[:4], label] += count
    return found


def files_of(path: Path) -> tuple[Path, ...]:
    """The files of an entry: itself, or what lies in its folder."""
    if not path.is_dir():
        return (path,) if path.exists() else ()
    return tuple(Path(root, name) for root, _, names in os.walk(path) for name in names if not name.startswith("."))


def _listed(path: Path) -> SeriesInfo | None:
    """The largest series of a path by its headers; None where there is none."""
    try:
        return next(iter(find_series(path)), None)
    except CovidctError:
        return None


def _size(files: Sequence[Path]) -> int:
    """Bytes of files."""
    return sum(file.stat().st_size for file in files)


def _of_images(files: Sequence[Path]) -> FileFacts:
    """Facts of pictures: all from the first but number and size."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(files[0], formats=("PNG", "JPEG", "TIFF", "BMP")) as image:
            # nothing below decodes pixels, as image.getexif() and image.text of PNG would
            flags = {flag for key, flag in _FLAGS.items() if image.info.get(key)}
            flags |= {"exif"} if image.info.get("exif") or _EXIF_TAG in getattr(image, "tag_v2", ()) else set()
            flags |= {"text"} if image.info.get("comment") or _has_text(image.info) else set()
            flags |= {"palette"} if image.mode == "P" else set()
            tables = getattr(image, "quantization", None) or {}
            first = next(iter(tables.values()), ())
            return FileFacts(
                "jpeg" if image.format == "MPO" else (image.format or "").lower(),
                len(files),
                _size(files),
                _BITS.get(image.mode, 16 if image.mode.startswith("I;16") else 0),
                len(image.getbands()),
                sum(first) / len(first) if first else 0.0,
                frozenset(flags),
            )
    except (OSError, UnidentifiedImageError, ValueError):
        return FileFacts("", len(files), _size(files))


def _has_text(info: Mapping[str | tuple[int, int], object]) -> bool:
    """Whether a PNG has text before its pixels: Pillow puts it among what else the header says, which is no string."""
    return any(isinstance(value, str) and key not in _NO_TEXT for key, value in info.items())
