"""``anonymous``: sentences about an input that may go into files."""

from __future__ import annotations

import re
import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("anonymous",)

_UID = re.compile(r"\b\d+(?:\.\d+){4,}\b")  # PS3.5 section 9.1: dotted numbers; five parts are no decimal or version


def anonymous(sentence: str, path: Path) -> str:
    """A sentence without what leads to the input: its path, the names of files in it, unique identifiers.

    Args:
        sentence: of an error or finding.
        path: the input it is about.
    """
    names = {str(path), str(path.resolve()), path.name, path.stem}
    if path.is_dir():
        names.update(part for file in path.rglob("*") for part in (file.name, file.stem))
    elif path.suffix.lower() == ".zip":
        names.update(_names_in_zip(path))
    for name in sorted(names, key=len, reverse=True):
        if len(name) > 2:  # shorter ones are words such as "CT"
            sentence = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "(input)", sentence)
    return _UID.sub("(uid)", sentence)


def _names_in_zip(path: Path) -> set[str]:
    """Names of the entries of a zip; none when it cannot be listed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [PurePosixPath(name) for name in archive.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile):
        return set()
    return {part for entry in entries for part in (str(entry), *entry.parts, entry.stem)}
