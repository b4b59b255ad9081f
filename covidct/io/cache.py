"""A cache on disk for arrays that are dear to make: uncompressed, mapped into memory, checked, shared by processes."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.atomic import atomic_path
from covidct.errors import CovidctError, UsageError
from covidct.io.cache_entry import DamagedEntry, Entry, read_entry, write_entry
from covidct.io.content import content_digest

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ("ArrayCache",)

_log = logging.getLogger(__name__)
_KEY = re.compile(r"[0-9a-f]{16,128}")
_SMALL = 1 << 20  # bytes up to which an entry is read instead of mapped: a mapping holds a file descriptor
_MOST_MAPPINGS = 512
_LEFTOVER_SECONDS = 24 * 3600.0  # a temporary folder this old belongs to a process that was killed


class ArrayCache:
    """Named arrays with JSON data, kept in a folder under keys that say all that went into them.

    A key stands for content, configuration and code version (:func:`covidct.io.content.cache_key`), so an entry is
    never out of date: when anything changes, the key does, and the old entry is simply not asked for. Entries are
    written to a temporary file, flushed and renamed; each is checked against its checksums when a process first opens
    it, and built again when it is damaged. Of several processes that want the same entry one builds it and the others
    wait. Objects may be pickled to worker processes; they take no open files along.

    Args:
        folder: is made when first needed; several processes, and several caches, may share it.
        memory: bytes of small entries (up to 1 MiB each) that a process keeps in memory; large ones stay mapped, up to
            a quarter of the files that a process may open, and the operating system keeps their bytes.
    """

    def __init__(self, folder: str | os.PathLike[str], *, memory: int = 256 * 2**20) -> None:
        """Remember the folder; touch nothing yet."""
        self.folder = Path(folder)
        self.memory = memory
        self._start()

    def _start(self) -> None:
        self._small = _Shelf(self.memory)  # counted in bytes
        self._mapped = _Shelf(_mappings())  # counted in file descriptors
        self._verified: dict[str, tuple[int, int, int]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Take the settings along, not what this process has open or has checked."""
        return {"folder": self.folder, "memory": self.memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start afresh in the process that was handed the object."""
        self.folder, self.memory = state["folder"], state["memory"]
        self._start()

    def get(self, key: str) -> Entry | None:
        """Open an entry.

        Args:
            key: 16 to 128 lower-case hexadecimal digits.

        Returns:
            The entry with read-only arrays; None when there is none, or a damaged one.

        Raises:
            UsageError: when ``key`` is no such key.
        """
        entry = self._small.take(key) or self._mapped.take(key)
        if entry is not None:
            return entry
        path = self._path(key)
        try:
            status = path.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            entry = read_entry(path, key, verify=self._verified.get(key) != stamp, into_memory=_SMALL)
        except OSError:
            return None
        except (DamagedEntry, KeyError, TypeError, ValueError) as error:
            _log.warning("A cache entry is damaged (%s) and is built again.", error)
            return None
        self._verified[key] = stamp
        if entry.nbytes <= _SMALL:
            self._small.put(key, entry, weight=entry.nbytes)
        else:
            self._mapped.put(key, entry, weight=1)
        return entry

    def get_or_build(
        self, key: str, build: Callable[[], tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]]
    ) -> Entry:
        """Open an entry, making it first when there is none or a damaged one.

        Args:
            key: 16 to 128 lower-case hexadecimal digits that stand for all that ``build`` depends on.
            build: gives the arrays of any shape by name and the JSON data; called by one process at a time for one key.
                When it raises, nothing is written and its error goes on.

        Returns:
            The entry with read-only arrays, as any later call gives it.

        Raises:
            UsageError: when ``key`` is no such key, or what ``build`` gives cannot be kept.
            CovidctError: when the folder cannot be written (disk full, no permission).
        """
        entry = self.get(key)
        if entry is not None:
            return entry
        from filelock import FileLock

        locks = self.folder / "locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / f"{key}.lock", thread_local=False)
            lock.acquire()
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            entry = self.get(key)  # another process may have built it meanwhile
            if entry is None:
                arrays, meta = build()
                self._write(key, arrays, meta)
                entry = self.get(key)
        finally:
            lock.release()
        if entry is None:
            raise CovidctError(f"The cache in {self.folder} gives back other bytes than were written: check the disk.")
        return entry

    def digest(self, path: str | os.PathLike[str]) -> str:
        """SHA-256 of a file's bytes, or of a folder's files, remembered so that big files are read once.

        Args:
            path: a file or folder, see :func:`covidct.io.content.content_digest`.

        Returns:
            64 hexadecimal digits.

        Raises:
            InputError: when the path cannot be read.
        """
        return content_digest(path, memo=self.folder / "digests")

    def _write(self, key: str, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path.parent)
            with atomic_path(path) as temporary:
                write_entry(temporary, key, arrays, meta)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> CovidctError:
        reason = error.strerror or str(error)
        return CovidctError(
            f"The cache in {self.folder} cannot be written ({reason}): make room or name another folder."
        )

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise UsageError(f"{key!r} is no cache key: 16 to 128 lower-case hexadecimal digits are.")
        return self.folder / key[:2] / f"{key}.arrays"


class _Shelf:
    """Open entries up to a total weight; those that were not used for longest make room."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.weight = 0
        self.entries: OrderedDict[str, tuple[Entry, int]] = OrderedDict()

    def take(self, key: str) -> Entry | None:
        if key not in self.entries:
            return None
        self.entries.move_to_end(key)
        return self.entries[key][0]

    def put(self, key: str, entry: Entry, *, weight: int) -> None:
        self.entries[key] = entry, weight
        self.weight += weight
        while self.weight > self.limit:
            _, (_, freed) = self.entries.popitem(last=False)
            self.weight -= freed


def _mappings() -> int:
    """How many entries may stay mapped, each with a file descriptor: a quarter of what the process may open."""
    try:
        import resource
    except ImportError:  # Windows has no such limit on mappings
        return _MOST_MAPPINGS
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(_MOST_MAPPINGS, allowed // 4 if allowed > 0 else _MOST_MAPPINGS))


def _sweep(folder: Path) -> None:
    """Remove the temporary folders of processes that were killed while writing."""
    for leftover in folder.glob(".tmp-*"):
        try:
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
        except OSError:  # another process was quicker
            continue
