"""Digests of files, without torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.errors import WeightsError

if TYPE_CHECKING:
    import os

__all__ = ("require_file", "require_sha256", "sha256_file")

_BLOCK = 1 << 20


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex sha256 of a file's bytes.

    Args:
        path: of the file.

    Returns:
        64 hex digits, lower case.

    Raises:
        WeightsError: when the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise WeightsError(f"{Path(path).name} cannot be read ({error.strerror or error}): check the path.") from error
    return digest.hexdigest()


def require_file(path: Path, error: type[WeightsError]) -> None:
    """Refuse what is not a readable file."""
    if not path.is_file():
        raise error(f"{path} is not a file: check the path.")


def require_sha256(path: Path, sha256: str) -> None:
    """Refuse a file of another digest.

    Args:
        path: the file.
        sha256: hex digest, or the start of one.

    Raises:
        WeightsError: names both digests.
    """
    found = sha256_file(path)
    if not found.startswith(sha256.lower()):
        raise WeightsError(
            f"{path.name} has the sha256 {found[: max(16, len(sha256))]}, expected {sha256}: it is damaged or another "
            f"file; delete it and fetch it again."
        )
