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

    from covidct.inference.discover import ScanInput

__all__ = ("Pseudonyms",)

_MARK = "# local key, do not share: it leads from the results back to the inputs; key="
_MODE = 0o600
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
        """Read the key, or draw one."""
        self.path = path
        self._key = _read_key(path) if path.exists() else secrets.token_bytes(32)

    def id_of(self, scan: ScanInput) -> str:
        """The pseudonym of an input, ``scan-`` and 12 hex digits.

        Args:
            scan: the same input gives the same id for as long as the file with the key is there.
        """
        place = f"{scan.path.resolve()}\0{scan.series or ''}"
        return f"scan-{hmac.new(self._key, place.encode(), hashlib.sha256).hexdigest()[:_DIGITS]}"

    def write(self, scans: Iterable[ScanInput]) -> None:
        """Write ``inputs.csv`` with mode 600: whole or not at all."""
        text = io.StringIO()
        text.write(f"{_MARK}{self._key.hex()}\n")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("id", "path", "series"))
        for scan in scans:
            table.writerow((self.id_of(scan), scan.path.resolve(), scan.series or ""))
        with atomic_path(self.path) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text.getvalue())


def _read_key(path: Path) -> bytes:
    """The key in the first line."""
    try:
        with path.open(encoding="utf-8") as file:
            line = file.readline().rstrip("\n")
        key = bytes.fromhex(line.removeprefix(_MARK)) if line.startswith(_MARK) else b""
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): use another output folder.") from error
    if len(key) != 32:
        raise InputError(f"{path} holds no key of covidct: use another output folder, or remove the file.")
    return key
