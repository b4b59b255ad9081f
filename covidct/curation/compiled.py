"""The compiled kernels of curation that are no image filters, and how kernels are compiled.

Import this module at the first use only: numba costs a second; the machine code is then cached on disk.
"""

# ruff: noqa: ANN401 - numba infers the types

from __future__ import annotations

from typing import Any

import numba
import numpy as np

__all__ = ("close_pairs", "jit")

_CHUNK = 512  # hashes that are counted at once; only chunks with a hit are looked at one by one


def jit(function: Any) -> Any:
    """Compile at the first call; the machine code is kept on disk where numba finds a folder that it may write to."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # a read-only installation and no home folder
        return numba.njit(nogil=True)(function)


@jit
def _bits_set(x: Any) -> Any:  # pragma: no cover - compiled
    # sums over neighbouring fields of 2, 4 and 8 bits, then of all bytes (Warren, Hacker's Delight, section 5-1)
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@jit
def close_pairs(hashes: Any, groups: Any, start: int, stop: int, limit: Any, out: Any) -> int:  # pragma: no cover
    """Pairs of the rows ``start`` to ``stop`` with later hashes.

    Args:
        hashes: (N,) uint64.
        groups: (N,) int64, two hashes of one group of at least 0 are no pair.
        start: first row.
        stop: behind the last row.
        limit: uint64, bits in which a pair may differ.
        out: (M, 3) int64, gets row, column, distance of the first M pairs.

    Returns:
        How many pairs there are, more than M too.
    """
    found = 0
    for row in range(start, stop):
        here = hashes[row]
        for first in range(row + 1, len(hashes), _CHUNK):
            chunk = hashes[first : first + _CHUNK]
            hits = 0
            for index in range(chunk.shape[0]):
                hits += _bits_set(here ^ chunk[index]) <= limit
            if hits == 0:
                continue
            for index in range(chunk.shape[0]):
                distance = _bits_set(here ^ chunk[index])
                if distance <= limit and (groups[row] < 0 or groups[row] != groups[first + index]):
                    if found < out.shape[0]:
                        out[found, 0], out[found, 1], out[found, 2] = row, first + index, distance
                    found += 1
    return found
