"""Pairs of near-equal hashes or descriptors among many: all are compared, block by block, none of them in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import UsageError
from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ("near_duplicates", "similar_pairs")

_BITS = 64
_ROWS, _ROOM = 512, 4096  # rows of a call, and the pairs that it has room for at first
_TILE = 2048  # 16 MiB of similarities
_MOST = 20_000_000  # pairs that are kept: 480 MiB


def near_duplicates(
    hashes: NDArray[np.uint64], *, max_distance: int = 4, most: int = _MOST
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find all pairs of hashes that differ in few bits.

    Exact, by comparing all of them: hashes of chests are so alike that indices over parts of the bits have few and huge
    buckets. 100,000 hashes are 5 billion comparisons, seconds on two cores.

    Args:
        hashes: (N,) uint64, see :func:`covidct.curation.perceptual_hashes`.
        max_distance: bits in which a pair may differ, 0 to 64.
        most: pairs at which the search gives up, to keep the memory bounded (24 bytes a pair).

    Returns:
        (P, 2) int64 pairs i < j in ascending order, and (P,) int64 distances.

    Raises:
        UsageError: for other hashes or another distance, or more pairs than ``most``.
    """
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise UsageError(f"The hashes are {hashes.dtype} of shape {hashes.shape}: give (N,) uint64.")
    if not 0 <= max_distance <= _BITS:
        raise UsageError(f"max_distance={max_distance} must lie between 0 and {_BITS} bits.")
    from covidct.curation.compiled import close_pairs

    count, limit, values = len(hashes), np.uint64(max_distance), np.ascontiguousarray(hashes)
    fault = f"within max_distance={max_distance}, of {count:,} images: lower it."

    def search(part: slice) -> NDArray[np.int64]:
        room = _ROOM
        while True:
            out = np.empty((room, 3), np.int64)
            total = close_pairs(values, part.start, part.stop, limit, out)
            if total <= room:
                return np.ascontiguousarray(out[:total].T)
            _check_number(total, most, fault)
            room = total

    pairs = _search(search, count, _ROWS, most, fault)
    return pairs[:2].T, pairs[2]


def similar_pairs(
    first: NDArray[np.float32], second: NDArray[np.float32], *, least: float, most: int = _MOST
) -> NDArray[np.int64]:
    """Find all pairs of unit vectors with a large inner product.

    Args:
        first: (N, F) float32 of norm 1, or 0 where there is nothing to compare.
        second: (N, F) float32, of the same N things seen another way, or the same.
        least: inner product of ``first`` of the one and ``second`` of the other, 0 to 1.
        most: pairs at which the search gives up.

    Returns:
        (P, 2) int64 pairs i < j, each once, in ascending order.

    Raises:
        UsageError: for more pairs than ``most``.
    """
    count = len(first)

    def search(part: slice) -> NDArray[np.int64]:
        found = [np.empty((2, 0), np.int64)]
        for start in range(0, count, _TILE):
            row, column = np.nonzero(first[part] @ second[start : start + _TILE].T >= least)
            pairs = np.stack([row + part.start, column + start])
            found.append(np.sort(pairs[:, pairs[0] != pairs[1]], axis=0))
        return np.concatenate(found, axis=1)

    pairs = _search(search, count, _TILE, most, f"above least={least}, of {count:,} images: raise it.")
    return np.unique(pairs[:2].T, axis=0)


def _search(
    search: Callable[[slice], NDArray[np.int64]], count: int, block: int, most: int, fault: str
) -> NDArray[np.int64]:
    """Columns that ``search`` finds in all blocks of rows, in the order of the rows."""
    found: dict[int, NDArray[np.int64]] = {}

    def work(part: slice) -> None:
        found[part.start] = search(part)
        _check_number(sum(part.shape[1] for part in list(found.values())), most, fault)

    over_blocks(work, count, block)
    if not found:
        return np.empty((3, 0), np.int64)
    return np.concatenate([found[start] for start in sorted(found)], axis=1)


def _check_number(pairs: int, most: int, fault: str) -> None:
    """Refuse more pairs than fit."""
    if pairs > most:
        raise UsageError(f"There are more than {most:,} pairs {fault}")
