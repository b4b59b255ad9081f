"""Files that are either whole or absent: written under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("atomic_folder", "atomic_path", "atomic_write_text")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends without an error.

    The temporary name ends with the name of ``path``, so that writers which look at the suffix (``.nii.gz``) behave.

    Args:
        path: the file to write; its folder is made when absent.

    Yields:
        A path in the same folder, not yet existing.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent) as folder:
        temporary = Path(folder) / target.name
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path`` that becomes ``path`` when the block ends without an error.

    Args:
        path: the folder to make; one that is there must be empty.

    Yields:
        A folder of the same name in the same place's temporary folder.

    Raises:
        OSError: when ``path`` is a file, or a folder with something in it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent) as folder:
        temporary = Path(folder) / target.name
        temporary.mkdir()
        yield temporary
        for inside in temporary.rglob("*"):
            if inside.is_file():
                with inside.open("rb+") as file:
                    os.fsync(file.fileno())
        if target.exists():
            target.rmdir()  # refuses one that is not empty
        temporary.rename(target)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` so that a reader sees the old file or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
