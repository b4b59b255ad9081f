"""``Pseudonyms``: names for inputs that tell nothing about them, and the local file that does."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.atomic import atomic_path
from covidct.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from covidct.io.discover import ScanInput

__all__ = ("Pseudonyms",)

_MARK = "# local key, do not share: it leads from the results back to the inputs; key="
_MODE = 0o600
_COLUMNS = ("id", "path", "series", "stamp")
_DIGITS = 12  # hex digits of an id: 48 bits, a collision among 10,000 scans has a chance of 2e-7


class Pseudonyms:
    """Ids as keyed hashes (HMAC-SHA256) of the inputs' places, under a random key that is the folder's own.

    Without the key nobody can test whether a known path is behind an id. The key stands in ``inputs.csv``, readable by
    its owner alone, together with the table id to path.

    Args:
        path: the file ``inputs.csv``; read when it exists, else a new key is drawn (nothing is written yet).

    Raises:
        InputError: when the file is there and is not one that this class wrote.
    """

    def __init__(self, path: Path) -> None:
        """Read key and table, or draw a key."""
        self.path = path
        self._rows: dict[str, tuple[str, str, str]] = {}
        if path.exists():
            self._key, self._rows = _read(path)
        else:
            self._key = secrets.token_bytes(32)

    def id_of(self, scan: ScanInput) -> str:
        """The pseudonym of an input, ``scan-`` and 12 hex digits.

        Args:
            scan: the same input gives the same id for as long as the file with the key is there.

        Returns:
            ``scan-`` and 12 hex digits, a keyed hash of path and series.
        """
        place = f"{scan.path.resolve()}\0{scan.series or ''}"
        return f"scan-{self._digest(place)[:_DIGITS]}"

    def is_unchanged(self, scan: ScanInput) -> bool:
        """Are names, sizes and times of the files of a ``scan`` those of when the table was written."""
        row = self._rows.get(self.id_of(scan))
        return row is not None and row[2] == self._stamp(scan)

    def write(self, scans: Iterable[ScanInput]) -> None:
        """Write ``inputs.csv`` with mode 600, whole or not at all; rows of earlier runs stay.

        Args:
            scans: the inputs of this run.
        """
        for scan in scans:
            self._rows[self.id_of(scan)] = (str(scan.path.resolve()), scan.series or "", self._stamp(scan))
        text = io.StringIO()
        text.write(f"{_MARK}{self._key.hex()}\n")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows((name, *row) for name, row in self._rows.items())
        with atomic_path(self.path) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text.getvalue())

    def _stamp(self, scan: ScanInput) -> str:
        """Digest of names, sizes and times of the input's files; opens none of them."""
        path = scan.path
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        return self._digest(repr([(str(file), *_size_and_time(file)) for file in files]))[:_DIGITS]

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _size_and_time(file: Path) -> tuple[int, int]:
    """Bytes and time of the last change; zeros for a file that has gone."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _read(path: Path) -> tuple[bytes, dict[str, tuple[str, str, str]]]:
    """Key and rows of a file that :meth:`Pseudonyms.write` wrote."""
    try:
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        key = bytes.fromhex(first.removeprefix(_MARK)) if first.startswith(_MARK) else b""
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): use another output folder.") from error
    header, *rows = list(csv.reader(lines)) or [[]]
    if len(key) != 32 or tuple(header) != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
        raise InputError(f"{path} is no key file of covidct: use another output folder, or remove the file.")
    return key, {name: (place, series, stamp) for name, place, series, stamp in rows}
