"""Files of weights from the internet: whole and verified in their place, or not there."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.errors import WeightsError
from covidct.weights.digest import sha256_file
from covidct.weights.transfer import TransferError, drop_partial, transfer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from covidct.weights.transfer import Advance

__all__ = ("OFFLINE", "download", "is_offline")

OFFLINE = "COVIDCT_OFFLINE"
"""Environment variable that forbids every connection, unless it is empty, 0, false, no or off."""

_LOGGER = logging.getLogger(__name__)
_TRIES = 4  # at one address, each going on where the last was cut
_PAUSE = 1.0  # seconds before the second try; doubled before each further one


def is_offline() -> bool:
    """Whether ``COVIDCT_OFFLINE`` forbids to open a connection."""
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "false", "no", "off")


def download(
    urls: Sequence[str], path: Path, *, sha256: str | None, size: int | None = None, otherwise: str = ""
) -> Path:
    """Bring a file to ``path``, once however many processes ask for it, from the first address that gives it.

    It is written beside ``path`` (``.part``), compared with size and sha256, and then renamed. What was cut is gone on
    with in the next try, in another process too; anything else is removed.

    Args:
        urls: https addresses of the same bytes, in the order of trying.
        path: where it shall be. A file that is there, with this size and sha256, is left; another one is replaced.
        sha256: hex digest, or the start of one; None where nobody tells.
        size: in bytes, where it is known.
        otherwise: what else the user can do, for the message.

    Returns:
        ``path``.

    Raises:
        WeightsError: when no address gives the file, connections are forbidden (:data:`OFFLINE`), or the folder cannot
            be written; names address, sha256, ``path`` and how to do without a connection.
    """
    if _is_good(path, sha256, size):
        return path
    recipe = _recipe(urls[0], path, sha256, otherwise)
    if is_offline():
        raise WeightsError(
            f"The weights {path.name} are not at {path}, and {OFFLINE} forbids to fetch them: {recipe}, or unset it."
        )
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if _is_good(path, sha256, size):  # another process has fetched it meanwhile
                return path
            reasons = _from_any(urls, path, sha256, size)
    except OSError as error:
        raise WeightsError(
            f"The weights {path.name} cannot be written to {path.parent} ({error.strerror or error}): make room there, "
            f"or set COVIDCT_CACHE (TORCH_HOME for torchvision's) to a folder that can be written; else {recipe}."
        ) from error
    if reasons:
        raise WeightsError(
            f"The weights {path.name} are not at {path} and cannot be fetched ({'; '.join(reasons)}): {recipe}."
        )
    return path


def _from_any(urls: Sequence[str], path: Path, sha256: str | None, size: int | None) -> list[str]:
    """Fetch from the first address that gives the file; empty, or why none does."""
    partial = path.with_name(f"{path.name}.part")
    reasons = []
    for url in urls:
        _LOGGER.info("Downloading %s", url)
        try:
            with _shown(path.name) as advance:
                _from_one(url, partial, sha256, size, advance)
        except TransferError as error:
            reasons.append(f"{url}: {error}")
            continue
        except OSError:  # a full disk: nothing shall be left on it
            drop_partial(partial)
            raise
        partial.replace(path)
        drop_partial(partial)
        return []
    return reasons


def _from_one(url: str, partial: Path, sha256: str | None, size: int | None, advance: Advance) -> None:
    """Fetch from one address, trying again after what may pass; leaves the whole, verified file in ``partial``."""
    for left in reversed(range(_TRIES)):
        resumed = partial.exists()
        try:
            transfer(url, partial, size=size, advance=advance)
            _require_good(partial, sha256, size, resumed=resumed)
        except TransferError as error:
            if error.wrong:
                drop_partial(partial)
            if not error.again or not left:
                raise
            _LOGGER.info("%s: %s; trying again", url, error)
            time.sleep(_PAUSE * 2.0 ** (_TRIES - 1 - left))
        else:
            return


def _require_good(partial: Path, sha256: str | None, size: int | None, *, resumed: bool) -> None:
    """Refuse other bytes than those that were published, and bring the right ones to the disk."""
    there, found = partial.stat().st_size, sha256_file(partial)
    wrong = ""
    if size is not None and there != size:
        wrong = f"it has {there} bytes instead of {size}"
    elif sha256 is not None and not found.startswith(sha256.lower()):
        wrong = f"its sha256 is {found[: max(16, len(sha256))]}, not {sha256}"
    if wrong:  # of an earlier part, which a crash may have left damaged, so that another try from the start is due
        raise TransferError(wrong, again=resumed, wrong=True)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())


def _is_good(path: Path, sha256: str | None, size: int | None) -> bool:
    """Whether the file is there as it was published."""
    if not path.is_file() or (size is not None and path.stat().st_size != size):
        return False
    return sha256 is None or sha256_file(path).startswith(sha256.lower())


def _recipe(url: str, path: Path, sha256: str | None, otherwise: str) -> str:
    """How to get the file to where it belongs by hand."""
    digest = f" (its sha256 {'is' if len(sha256) == 64 else 'begins with'} {sha256})" if sha256 else ""
    return f"fetch {url} on another machine{digest} and put the file at {path}{otherwise and f', {otherwise}'}"


@contextmanager
def _shown(name: str) -> Iterator[Advance]:
    """Show how far it is, where someone is at a terminal to see it."""
    if not sys.stderr.isatty():
        yield lambda _there, _whole: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(name, total=None)
        yield lambda there, whole: progress.update(bar, completed=there, total=whole)
