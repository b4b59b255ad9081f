"""Slices that do not belong where they stand in a scan, found by perceptual hashes of their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from covidct.curation.hashes import HashKind, hamming_distance, perceptual_hashes
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

__all__ = ("RemovedSlice", "SliceOrder", "check_slice_order", "check_threshold", "grey_levels", "order_of_hashes")


@dataclass(frozen=True, slots=True)
class RemovedSlice:
    """A slice that resembles neither neighbour.

    Attributes:
        index: of the slice, from the first.
        before: distance in bits to the slice before it.
        after: distance in bits to the slice after it.
    """

    index: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class SliceOrder:
    """Which slices of a scan stay.

    Attributes:
        kept: indices of the slices that stay, ascending.
        removed: the others.
        distances: bits in which each slice differs from the next one, in the original order; None beside a slice that
            is missing.
        kind: of hash.
        threshold: distances above it are dissimilar.
    """

    kept: tuple[int, ...]
    removed: tuple[RemovedSlice, ...]
    distances: tuple[int | None, ...]
    kind: HashKind
    threshold: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        removed = [{"index": one.index, "before": one.before, "after": one.after} for one in self.removed]
        return {
            "slices": len(self.kept) + len(self.removed),
            "removed": removed,
            "distances": list(self.distances),
            "hash": self.kind,
            "threshold": self.threshold,
        }


def check_slice_order(
    stack: NDArray[np.float32] | NDArray[np.uint8], *, kind: HashKind = "ahash", threshold: int = 5
) -> SliceOrder:
    """Find the slices of a scan that resemble neither the slice before nor the slice after them.

    The gated ensemble's document (section 3.2.1) removes a slice whose hash differs by more than "around 5" from those
    of both neighbours; it says neither which hash nor what happens at the ends. Here the average hash is the default,
    more than 5 of 64 bits are dissimilar, all distances are those of the original order (so that the outcome does not
    depend on a direction), and the first and last slice, which have one neighbour, stay.

    Two wrong slices in a row that resemble each other stay, as the rule has it; a scan of widely spaced slices may lose
    right ones. So look at what is removed.

    Args:
        stack: (D, H, W) uint8, or floats in [0, 1].
        kind: ``"ahash"``, ``"dhash"`` or ``"phash"``.
        threshold: bits; a distance above it is dissimilar.

    Returns:
        What stays and what does not.

    Raises:
        UsageError: for a stack of another form, another hash or a threshold out of range.
    """
    if stack.ndim != 3:
        raise UsageError(f"The stack has the shape {stack.shape}: give slices (D, H, W).")
    return order_of_hashes(perceptual_hashes(grey_levels(stack), kind=kind), kind=kind, threshold=threshold)


def order_of_hashes(
    hashes: NDArray[np.uint64], *, kind: HashKind, threshold: int = 5, indices: Sequence[int] | None = None
) -> SliceOrder:
    """The rule of :func:`check_slice_order` on hashes that are there already.

    Args:
        hashes: (D,) uint64, in the order of the slices.
        kind: theirs.
        threshold: bits; a distance above it is dissimilar.
        indices: of the slices, ascending; slices beside a missing index have one neighbour and stay, as those at the
            ends do. None: 0 to D - 1.

    Raises:
        UsageError: for a threshold out of range.
    """
    check_threshold(threshold)
    places = range(len(hashes)) if indices is None else indices
    bits = hamming_distance(hashes[:-1], hashes[1:]).tolist()
    steps = [int(step) if b - a == 1 else None for step, (a, b) in zip(bits, pairwise(places), strict=True)]
    removed = tuple(
        RemovedSlice(place, before, after)
        for place, (before, after) in zip(places[1:-1], pairwise(steps), strict=True)
        if before is not None and after is not None and before > threshold and after > threshold
    )
    gone = {one.index for one in removed}
    kept = tuple(place for place in places if place not in gone)
    return SliceOrder(kept, removed, tuple(steps), kind, threshold)


def check_threshold(threshold: int) -> None:
    """Refuse a threshold that no distance of 64 bits can have.

    Raises:
        UsageError: when it lies outside of 0 to 64.
    """
    if not 0 <= threshold <= 64:
        raise UsageError(f"threshold={threshold} must lie between 0 and 64 bits.")


def grey_levels(unit: NDArray[Any]) -> NDArray[np.uint8]:
    """Floats in [0, 1] as 8-bit grey, what is 8-bit as it is; an image file of 8 bits gets its own values back."""
    if unit.dtype == np.uint8:
        return np.asarray(unit, np.uint8)
    return np.asarray(np.rint(255 * np.clip(np.nan_to_num(unit), 0, 1)), np.uint8)
