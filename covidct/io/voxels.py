"""Open a file and fill an array with its voxels, in one pass and with one sentence for all that can go wrong."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from io import BufferedReader

    from numpy.typing import NDArray

    from covidct.io.inflate import Inflater

__all__ = ("opened", "read_voxels")

_SLACK = 1 << 20  # bytes that may stand behind the voxels; more means that the header does not belong to the data


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BufferedReader]:
    """Open exactly this file for reading; what the system says while it is open becomes one sentence.

    Raises:
        InputError: when the file cannot be read, or does not fit into memory.
    """
    try:
        with Path(path).open("rb") as raw:
            yield raw
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"The file {Path(path).name!r} cannot be read ({reason}): check its path and rights."
        ) from error
    except MemoryError as error:
        raise InputError(f"The file {Path(path).name!r} does not fit into the memory of this machine.") from error


def read_voxels(
    stream: BufferedReader | Inflater, shape: tuple[int, int, int], dtype: np.dtype[Any], *, start: bytes = b""
) -> NDArray[Any]:
    """Read the voxels that a header has announced, and see to it that little else follows.

    Args:
        stream: stands at the first byte that is not in ``start``.
        shape: voxels along (k, j, i), checked against the size of the file already.
        dtype: type of the stored values.
        start: bytes from the first voxel on that were read with the header.

    Raises:
        InputError: when the stream is damaged, ends early, or goes on for more than 1 MiB.
    """
    stored = np.empty(shape, dtype=dtype)  # takes no memory before the bytes arrive
    view = stored.reshape(-1).view(np.uint8).data
    head = min(len(start), len(view))
    view[:head] = start[:head]
    count = head + stream.readinto(view[head:])
    if count < len(view):
        raise InputError(f"The file ends too early: {len(view):,} bytes of voxels were expected, {count:,} are there.")
    if len(stream.read(_SLACK)) == _SLACK:  # of a compressed stream this also checks the checksum at its end
        raise InputError("The file holds more than its header declares: the header is damaged, export it again.")
    return stored
