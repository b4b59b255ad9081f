"""Keys that stand for content: digests of files and folders, and of configurations."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.atomic import atomic_write_text
from covidct.errors import InputError, UsageError
from covidct.io.itk_header import read_itk_header

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ("cache_key", "content_digest")

_TEXT_HEADERS = frozenset({".mhd", ".nhdr"})
_SETTLED_SECONDS = 2.0  # a file younger than this may change again within one tick of the clock of its file system


def cache_key(*content: str, config: Mapping[str, Any], version: int | str) -> str:
    """Make the key of a cache entry from all that it depends on.

    Args:
        *content: digests of the inputs, in order.
        config: the settings, plain data of JSON; the order of names does not matter.
        version: of the code that makes the entry; raise it when its results change.

    Returns:
        64 hexadecimal digits.

    Raises:
        UsageError: when ``config`` is not plain data.
    """
    try:
        text = json.dumps([content, config, version], sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise UsageError(f"A cache key is made of plain JSON data: {error}.") from error
    return hashlib.sha256(text.encode()).hexdigest()


def content_digest(path: str | os.PathLike[str], *, memo: Path | None = None) -> str:
    """SHA-256 of what is in a file or folder.

    Of a folder, the digest is made from the names of the files below it, hidden ones left out, and their digests.
    A text header (``.mhd``, ``.nhdr``) counts together with the file that holds its voxels.

    Args:
        path: a file or folder.
        memo: folder where digests are remembered by path, size and modification time, in files whose names are digests
            too, so that no file name is given away; None reads the bytes each time.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: when the path cannot be read.
    """
    target = Path(path).resolve()
    try:
        files = _files(target)
        state = [[name, status.st_size, status.st_mtime_ns, status.st_ino] for name, _, status in files]
        stamp = hashlib.sha256(json.dumps(state).encode()).hexdigest()
        place = memo / f"{hashlib.sha256(str(target).encode()).hexdigest()}.json" if memo is not None else None
        known = _remembered(place, stamp)
        if known is not None:
            return known
        digest = _digest(target, files)
    except OSError as error:
        raise InputError(
            f"{target.name!r} cannot be read ({error.strerror or error}): check its path and rights."
        ) from error
    newest = max((status.st_mtime for _, _, status in files), default=0.0)
    if place is not None and time.time() - newest > _SETTLED_SECONDS:
        _remember(place, stamp, digest)
    return digest


def _files(target: Path) -> list[tuple[str, Path, os.stat_result]]:
    """Relative name, path and status of the file, or of all files below the folder in the order of names."""
    if not target.is_dir():
        data = _detached(target)
        return [("", target, target.stat()), *([("data", data, data.stat())] if data else [])]
    names = sorted((p.relative_to(target).as_posix(), p) for p in target.rglob("*") if p.is_file())
    return [(name, p, p.stat()) for name, p in names if not any(part.startswith(".") for part in name.split("/"))]


def _detached(header: Path) -> Path | None:
    """The file with the voxels of a text header; None for other files, and where reading the scan will refuse it."""
    if header.suffix.lower() not in _TEXT_HEADERS:
        return None
    try:
        data = read_itk_header(header).data
    except InputError:
        return None
    return data if data != header and data.is_file() else None


def _digest(target: Path, files: list[tuple[str, Path, os.stat_result]]) -> str:
    digests = []
    for name, path, _ in files:
        with path.open("rb") as file:
            digests.append([name, hashlib.file_digest(file, "sha256").hexdigest()])
    if len(digests) == 1 and not target.is_dir():
        return digests[0][1]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _remembered(place: Path | None, stamp: str) -> str | None:
    if place is None:
        return None
    try:
        note = json.loads(place.read_text(encoding="utf-8"))
        digest = note["sha256"] if note["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):  # absent, or damaged: hash again
        return None
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def _remember(place: Path, stamp: str, digest: str) -> None:
    try:
        atomic_write_text(place, json.dumps({"stamp": stamp, "sha256": digest}))
    except OSError:  # a note that cannot be kept only costs time
        return
