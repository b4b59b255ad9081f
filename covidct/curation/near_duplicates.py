"""Pairs of near-equal hashes or descriptors among many: all are compared, block by block, none of them in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import UsageError
from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ("TooManyPairsError", "near_duplicates", "once", "similar_pairs")

_BITS = 64
_ROWS, _ROOM = 512, 4096  # rows of a call, and the pairs that it has room for at first
_TILE_ROWS, _TILE = 256, 1024  # 1 MiB of similarities, what a core's own cache holds
_SHORT = 32  # numbers of a vector that are multiplied first; of descriptors of chests 1 pair in 1,000 needs the others
_DENSE = 1 / 32  # of a tile: from here on a product in full is cheaper, and its memory is bounded
_ROUNDING = 1e-5  # of inner products in float32
_MOST = 20_000_000  # pairs that are kept: 480 MiB


class TooManyPairsError(UsageError):
    """There are more pairs than are kept."""


def near_duplicates(
    hashes: NDArray[np.uint64],
    *,
    max_distance: int = 4,
    groups: NDArray[np.int64] | None = None,
    most: int = _MOST,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find all pairs of hashes that differ in few bits.

    Exact, by comparing all of them: hashes of chests are so alike that indices over parts of the bits have few and huge
    buckets. 100,000 hashes are 5 billion comparisons, seconds on two cores.

    Args:
        hashes: (N,) uint64, see :func:`covidct.curation.perceptual_hashes`.
        max_distance: bits in which a pair may differ, 0 to 64.
        groups: (N,) int64, two hashes of one group are no pair; below 0: in no group. None: all pairs.
        most: pairs at which the search gives up, to keep the memory bounded (24 bytes a pair).

    Returns:
        (P, 2) int64 pairs i < j in ascending order, and (P,) int64 distances.

    Raises:
        UsageError: for other hashes or groups or another distance, or more pairs than ``most``.
    """
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise UsageError(f"The hashes are {hashes.dtype} of shape {hashes.shape}: give (N,) uint64.")
    if not 0 <= max_distance <= _BITS:
        raise UsageError(f"max_distance={max_distance} must lie between 0 and {_BITS} bits.")
    if groups is not None and groups.shape != hashes.shape:
        raise UsageError(f"The groups have the shape {groups.shape} for {len(hashes)} hashes: give one per hash.")
    from covidct.curation.compiled import close_pairs

    count, limit, values = len(hashes), np.uint64(max_distance), np.ascontiguousarray(hashes)
    parts = _groups(groups, count)
    fault = f"within max_distance={max_distance}, of {count:,} images: lower it."

    def search(part: slice) -> NDArray[np.int64]:
        room = _ROOM
        while True:
            out = np.empty((room, 3), np.int64)
            total = close_pairs(values, parts, part.start, part.stop, limit, out)
            if total <= room:
                return np.ascontiguousarray(out[:total].T)
            _check_number(total, most, fault)
            room = total

    pairs = _search(search, count, _ROWS, most, fault)
    return pairs[:2].T, pairs[2]


def similar_pairs(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    *,
    least: float,
    groups: NDArray[np.int64] | None = None,
    most: int = _MOST,
) -> NDArray[np.int64]:
    """Find all pairs of unit vectors with a large inner product.

    Exact, and no pair is computed in full that cannot be large: with P the projection on the main axes of ``second``
    and r what it leaves of a vector, ``<a, b> <= <Pa, Pb> + |r(a)| |r(b)|``, an inner product of few numbers.

    Args:
        first: (N, F) float32 of norm 1, or 0 where there is nothing to compare.
        second: (N, F) float32, of the same N things seen another way; the same array: seen the same way, where a pair
            is compared once.
        least: inner product of ``first`` of the one and ``second`` of the other, 0 to 1.
        groups: (N,) int64, two of one group are no pair; below 0: in no group. None: all pairs.
        most: pairs at which the search gives up.

    Returns:
        (P, 2) int64 pairs i < j, each once, in ascending order.

    Raises:
        UsageError: for more pairs than ``most``.
    """
    count, symmetric = len(first), first is second
    axes = _main_axes(second)
    rows, columns = _shortened(first, axes), np.ascontiguousarray(_shortened(second, axes).T)
    parts = _groups(groups, count)

    def search(part: slice) -> NDArray[np.int64]:
        found = [np.empty((2, 0), np.int64)]
        for start in range(part.start if symmetric else 0, count, _TILE):
            tile = slice(start, start + _TILE)
            large = rows[part] @ columns[:, tile] >= least - _ROUNDING
            dense = np.count_nonzero(large) > _DENSE * large.size
            if dense:
                large = first[part] @ second[tile].T >= least
            flat = np.flatnonzero(large)  # half of the time of nonzero in two dimensions
            if not len(flat):
                continue
            row, column = flat // large.shape[1] + part.start, flat % large.shape[1] + start
            kept = (row < column if symmetric else row != column) & ((parts[row] < 0) | (parts[row] != parts[column]))
            row, column = row[kept], column[kept]
            if not dense:
                sure = np.einsum("pf,pf->p", first[row], second[column]) >= least
                row, column = row[sure], column[sure]
            found.append(np.sort(np.stack([row, column]), axis=0))
        return np.concatenate(found, axis=1)

    pairs = _search(search, count, _TILE_ROWS, most, f"with a similarity of at least {least}, of {count:,} images.")
    return once(pairs[:2].T, count)


def once(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Pairs (P, 2) of ``count`` things, each once and in ascending order."""
    keys = np.unique(pairs[:, 0] * count + pairs[:, 1])  # a tenth of the time of unique rows
    return np.stack(np.divmod(keys, max(count, 1)), axis=1)


def _main_axes(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(F, K) orthonormal, the directions in which the vectors are longest."""
    _, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    return np.asarray(axes[:, ::-1][:, : _SHORT - 1], np.float32)


def _shortened(vectors: NDArray[np.float32], axes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, K + 1) float32: parts along the axes, and the length of the rest."""
    along = vectors @ axes
    rest = np.einsum("nf,nf->n", vectors, vectors) - np.einsum("nk,nk->n", along, along)
    return np.concatenate([along, np.sqrt(rest.clip(0))[:, None]], axis=1)


def _groups(groups: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    """The groups; none where there are none."""
    return np.full(count, -1, np.int64) if groups is None else np.ascontiguousarray(groups, np.int64)


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
        raise TooManyPairsError(f"There are more than {most:,} pairs {fault}")
