"""Scans without the slices that a cohort's table leaves out (column ``slices``): no file is copied or changed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from covidct.errors import ManifestError
from covidct.volume import Finding, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.datasets.base import Raw

__all__ = ("format_slices", "keep_slices", "parse_slices")

_LEAST = 3  # slices of a volume, as for its files


def parse_slices(text: str) -> tuple[int, ...]:
    """Indices that a cell such as ``"0-10 12-63"`` names, ascending; slices count from 0, feet to head.

    Raises:
        ManifestError: when the cell is something else.
    """
    parts = text.replace(",", " ").split()
    found: set[int] = set()
    for part in parts:
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ManifestError(f"the slices {text!r} cannot be read: give kept slices from 0, such as 0-10 12-63.")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def format_slices(indices: Sequence[int]) -> str:
    """The cell of ascending indices: ``"0-10 12-63"``."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return " ".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def keep_slices(raw: Raw, kept: Sequence[int]) -> Raw:
    """A scan without the slices that are left out.

    Where positions are unknown (folders of pictures), the others move together. Where they are known, geometry must
    stay true: a slice between two kept ones is replaced by their linear interpolation (masks: by the nearer one; class:
    unknown), and what lies beyond the first and last kept slice is cut off.

    Args:
        raw: a volume with what belongs to it.
        kept: ascending indices of the slices that stay.

    Returns:
        The scan, with the finding ``"slices_left_out"``.

    Raises:
        ManifestError: when fewer than three slices are kept, or the scan has no such slices.
    """
    volume = cast("Volume", raw.scan)
    depth = volume.shape[0]
    if len(kept) < _LEAST or kept[-1] >= depth:
        raise ManifestError(
            f"the column slices keeps {len(kept)} slices up to number {kept[-1] if kept else 0}, the scan has {depth}, "
            f"counted from 0: keep at least {_LEAST} of them."
        )
    known = bool(np.isfinite(volume.spacing[0]))
    wanted = np.arange(kept[0], kept[-1] + 1) if known else np.asarray(kept)
    place = np.searchsorted(kept, wanted)  # of the first kept slice at or above
    above = np.asarray(kept)[place]
    below = np.where(above == wanted, above, np.asarray(kept)[np.maximum(place - 1, 0)])
    share = (wanted - below) / np.maximum(above - below, 1)
    nearer = np.where(share < 0.5, below, above)
    array = volume.array[below]
    for row in np.flatnonzero(above != below):
        mixed = (1 - share[row]) * volume.array[below[row]] + share[row] * volume.array[above[row]]
        array[row] = np.rint(mixed) if array.dtype.kind == "i" else mixed
    done = "their places interpolated" if known else "the others moved together"
    finding = Finding("slices_left_out", f"{depth - len(kept)} slices are left out by the table; {done}.", "dropped")
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * kept[0] if known else 0  # columns: width, height, depth
    scan = replace(volume, array=array, affine=affine, findings=(*volume.findings, finding))
    labels = raw.slice_label
    return replace(
        raw,
        scan=scan,
        lung_mask=_take(raw.lung_mask, nearer),
        lesion_mask=_take(raw.lesion_mask, nearer),
        slice_label=None if labels is None else np.where(above == below, labels[nearer], -1),
    )


def _take(mask: NDArray[np.uint8] | None, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    return None if mask is None else mask[rows]
