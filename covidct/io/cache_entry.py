"""One cache entry as one file: a JSON header, then the raw bytes of each array, aligned so that they can be mapped.

Layout: 8 bytes magic, 8 bytes length of the header, 4 bytes CRC-32 of the header, the header (UTF-8 JSON), zeros up to
a multiple of 64, then the arrays, each at a multiple of 64. The header holds ``key``, ``meta`` and for each array name,
dtype, shape, offset and CRC-32. No pickle anywhere.
"""

from __future__ import annotations

import json
import math
import mmap
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ("DamagedEntry", "Entry", "read_entry", "write_entry")

_MAGIC = b"COVIDCT1"
_PREFIX = len(_MAGIC) + 8 + 4
_ALIGN = 64  # a cache line, and enough for every dtype and vector unit
_CHUNK = 1 << 22  # bytes a checksum looks at before other threads get a turn


class DamagedEntry(Exception):  # noqa: N818 - not an error of the user: the entry is built again
    """A cache entry is cut off, changed, or of another key."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Arrays and plain data of one cache entry.

    Attributes:
        arrays: name to read-only array; of big entries the bytes stay on disk until they are looked at.
        meta: plain JSON data.
        nbytes: size of the file.
    """

    arrays: Mapping[str, NDArray[Any]]
    meta: Mapping[str, Any]
    nbytes: int

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The array called ``name``, read-only."""
        return self.arrays[name]


def write_entry(path: Path, key: str, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
    """Write an entry; the caller makes it atomic.

    Args:
        path: the file.
        key: the entry's key, checked again when it is read.
        arrays: any shapes, any dtypes but Python objects and records.
        meta: data that JSON can hold.

    Raises:
        UsageError: for object arrays, and for meta data that JSON cannot hold.
    """
    described: dict[str, dict[str, Any]] = {}
    offset = 0
    solid = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in solid.items():
        if array.dtype.hasobject or array.dtype.fields:
            raise UsageError(f"The array {name!r} of dtype {array.dtype} cannot be cached: use a plain numeric dtype.")
        crc = _crc(_bytes(array))
        described[name] = {"dtype": array.dtype.str, "shape": array.shape, "offset": offset, "crc": crc}
        offset = _aligned(offset + array.nbytes)
    try:
        header = json.dumps({"key": key, "arrays": described, "meta": dict(meta)}, sort_keys=True).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"The meta data of a cache entry must be plain JSON data: {error}.") from error
    with path.open("wb") as file:
        file.write(_MAGIC + len(header).to_bytes(8, "little") + zlib.crc32(header).to_bytes(4, "little") + header)
        file.write(bytes(_aligned(file.tell()) - file.tell()))
        start = file.tell()
        for name, array in solid.items():
            file.write(bytes(start + described[name]["offset"] - file.tell()))
            file.write(_bytes(array))


def read_entry(path: Path, key: str, *, verify: bool, into_memory: int) -> Entry:
    """Open an entry.

    Args:
        path: the file.
        key: what the file must call itself.
        verify: check the arrays' checksums; the header's is always checked.
        into_memory: entries up to this many bytes are read, larger ones are mapped.

    Raises:
        DamagedEntry: when the file is not whole, or of another key.
        OSError: when it cannot be opened.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if size < _PREFIX:
            raise DamagedEntry("cut off")
        content = file.read() if size <= into_memory else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header, start = _header(content, key)
    arrays = {}
    for name, described in header["arrays"].items():
        dtype, shape = np.dtype(described["dtype"]), tuple(described["shape"])
        count, offset = math.prod(shape), start + described["offset"]
        if offset + count * dtype.itemsize > size:
            raise DamagedEntry("cut off")
        array = np.frombuffer(content, dtype, count, offset) if count else np.empty(0, dtype)
        if verify and _crc(_bytes(array)) != described["crc"]:
            raise DamagedEntry(f"the array {name!r} was changed")
        array.flags.writeable = False
        arrays[name] = array.reshape(shape)
    return Entry(arrays, header["meta"], size)


def _header(content: bytes | mmap.mmap, key: str) -> tuple[dict[str, Any], int]:
    """The checked header, and where the arrays begin."""
    prefix = content[:_PREFIX]
    length = int.from_bytes(prefix[8:16], "little")
    if prefix[:8] != _MAGIC or _PREFIX + length > len(content):
        raise DamagedEntry("not a cache entry")
    text = content[_PREFIX : _PREFIX + length]
    if zlib.crc32(text) != int.from_bytes(prefix[16:20], "little"):
        raise DamagedEntry("the header was changed")
    header: dict[str, Any] = json.loads(text)
    if header["key"] != key:
        raise DamagedEntry("the entry belongs to another key")
    return header, _aligned(_PREFIX + length)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def _crc(data: memoryview) -> int:
    crc = 0
    for start in range(0, len(data), _CHUNK):
        crc = zlib.crc32(data[start : start + _CHUNK], crc)
    return crc
