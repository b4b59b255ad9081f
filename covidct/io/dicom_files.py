"""Where DICOM objects lie: files of a folder, or entries of a zip that is never unpacked to disk."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from covidct.errors import InputError
from covidct.io.names import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Item", "is_zip", "open_items")

MAX_ENTRIES = 100_000  # files of a zip: a whole-body scan has a few thousand
MAX_ENTRY_BYTES = 2**31  # one DICOM object; explicit lengths end at 4 GiB
MAX_RATIO = 200  # of an archive as a whole: CT deflates 2 to 4 times, a bomb 1,000 times
MIN_BOMB_BYTES = 2**26  # below this even a bomb does no harm
OTHER_SUFFIXES = frozenset({
    ".bmp", ".bz2", ".csv", ".gif", ".gz", ".html", ".jpeg", ".jpg", ".json", ".md", ".mha", ".mhd", ".nhdr", ".nii",
    ".nrrd", ".pdf", ".png", ".py", ".raw", ".svg", ".tif", ".tiff", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".zip",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One file, or one entry of an open zip.

    Attributes:
        path: the file, or the path of the zip joined with the entry's name.
        size: bytes of the content.
        archive: the open zip, None for a file.
        entry: name in the zip.
    """

    path: Path
    size: int
    archive: zipfile.ZipFile | None = None
    entry: str = ""

    @property
    def name(self) -> str:
        """File name without folders, for messages."""
        return self.path.name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open for reading within a ``with`` block.

        Raises:
            InputError: when the file cannot be opened, or read within the block: entries of a zip are unpacked, and
                checked, as they are read.
        """
        try:
            with self.path.open("rb", buffering=0) if self.archive is None else self.archive.open(self.entry) as file:
                yield file
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or "its bytes are damaged"
            raise InputError(
                f"The file {self.name} cannot be read ({reason}): check its rights and copy it."
            ) from error


def is_zip(path: Path) -> bool:
    """Whether a file is a zip, damaged ones included: by the first bytes, or by the list of entries at its end."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:  # reading it will say so
        return False
    return start in (b"PK\3\4", b"PK\5\6") or zipfile.is_zipfile(path)


@contextmanager
def open_items(path: Path) -> Iterator[list[Item]]:
    """List the files of a folder (with its sub-folders), of a zip, or the file itself, in natural order of names.

    Files whose suffix says that they are something else, hidden files and links to folders are left out.

    Raises:
        InputError: when the path does not exist or the zip is damaged or unsafe.
    """
    if path.is_dir():
        yield _folder(path)
    elif not path.is_file():
        raise InputError(f"There is no file or folder {path}: check the path.")
    elif is_zip(path):
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise InputError(f"The zip {path.name} is damaged ({error}): copy it again.") from error
        with archive:
            yield _entries(path, archive)
    else:
        yield [Item(path, path.stat().st_size)]


def _folder(path: Path) -> list[Item]:
    files = (
        file
        for file in path.rglob("*")
        if file.suffix.lower() not in OTHER_SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    return [Item(file, file.stat().st_size) for file in sorted(files, key=lambda file: natural_key(str(file)))]


def _entries(path: Path, archive: zipfile.ZipFile) -> list[Item]:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise InputError(f"The zip {path.name} has {len(entries)} entries, more than {MAX_ENTRIES}: it is no scan.")
    for entry in entries:
        _check_entry(path, entry)
    total, packed = sum(e.file_size for e in entries), sum(e.compress_size for e in entries)
    if total > MIN_BOMB_BYTES and total > MAX_RATIO * packed:
        raise InputError(
            f"The zip {path.name} unpacks from {packed} to {total} bytes, which no scan does: it is refused as a bomb."
        )
    items = [
        Item(path / entry.filename, entry.file_size, archive, entry.filename)
        for entry in entries
        if not entry.is_dir() and PurePosixPath(entry.filename).suffix.lower() not in OTHER_SUFFIXES
    ]
    return sorted(items, key=lambda item: natural_key(str(item.path)))


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.filename.replace("\\", "/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    why = ""
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
        why = "points outside of the archive"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        why = "is a link or a device"
    elif entry.flag_bits & 0x1:
        why = "is encrypted"
    elif entry.file_size > MAX_ENTRY_BYTES:
        why = f"claims {entry.file_size} bytes"
    if why:
        raise InputError(f"The zip {path.name} is refused: its entry {entry.filename!r} {why}; pack the scan anew.")
