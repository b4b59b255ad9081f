"""Slice attention in a result: which slices it calls positive, why there is none, and its montage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError
from covidct.explain import fade
from covidct.metrics import slice_decisions
from covidct.result import AttentionMontage
from covidct.transforms import prepare_slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.preprocessing import Preprocessing
    from covidct.tasks import BaseTask
    from covidct.volume import Volume

__all__ = ("attention_montage", "native_slices", "positive_slices", "reason_without_attention", "shown_slices")

_SHOWN = 12  # slices of a montage: two rows of a page; figure 6 of the ResNeXt+ document has about as many


def positive_slices(attention: Sequence[float], *, diagnosed: bool) -> tuple[int, ...]:
    """Indices of the slices that attention calls positive, by :func:`covidct.metrics.slice_decisions`.

    Args:
        attention: share of each slice, NaN on those that are none of the scan's.
        diagnosed: whether the scan was predicted positive.
    """
    shares = np.asarray(attention, dtype=np.float64)
    real = np.flatnonzero(np.isfinite(shares))
    return tuple(real[slice_decisions(shares[real], diagnosed=diagnosed)].tolist())


def reason_without_attention(task: BaseTask) -> str:
    """Why a network that may have slice attention has none, in a sentence; empty for all others."""
    require = getattr(task.model, "require_attention", None)
    if require is None:
        return ""
    try:
        require()
    except UsageError as error:
        return str(error)
    return ""


def attention_montage(slices: NDArray[Any], attention: Sequence[float], indices: Sequence[int]) -> AttentionMontage:
    """Pictures of slice attention.

    Args:
        slices: (n, H, W) uint8, the slices to show.
        attention: share of each slice of the scan, NaN on those that are none of the scan's.
        indices: place of each shown slice in the scan.
    """
    shares = np.nan_to_num(np.asarray(attention, dtype=np.float64))
    # in units of the scan's maximum, which `fade` would otherwise take from the slices shown
    faded = fade(slices / 255, shares[list(indices)] / shares.max(), literal=True)
    return AttentionMontage(slices, np.rint(faded * 255).astype(np.uint8), tuple(indices))


def shown_slices(attention: Sequence[float], *, count: int = _SHOWN) -> list[int]:
    """Slices of a montage, feet to head: evenly spaced, the nearest of them replaced by the one of most attention.

    Args:
        attention: share of each slice, NaN on those that are none of the scan's.
        count: of slices; fewer where the scan has fewer.
    """
    shares = np.asarray(attention, dtype=np.float64)
    real = np.flatnonzero(np.isfinite(shares))
    if not len(real):
        return []
    even = real[np.unique(np.linspace(0, len(real) - 1, min(count, len(real))).round().astype(np.int64))]
    best = int(np.nanargmax(shares))
    even[np.abs(even - best).argmin()] = best
    return [int(index) for index in even]


def native_slices(
    volume: Volume,
    record: Preprocessing,
    indices: Sequence[int],
    *,
    size: int,
    lung_mask: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Some slices of a scan, prepared as for the network but whole and of another size.

    Args:
        volume: the scan.
        record: of the network, with ``grid="slices"``.
        indices: of the slices.
        size: pixels per side.
        lung_mask: on the grid of the scan, where the record's ``mask_source`` is a file.

    Returns:
        (n, size, size) uint8, and the mask of these slices where there is one.
    """
    shown = replace(record, kind="ct_slice", grid="cube", size=size, masking="original")
    found = prepare_slices(volume, shown, indices=indices, lung_mask=lung_mask)
    mask = found["lung_mask"][:, 0] if "lung_mask" in found else None
    return np.rint(found["image"][:, 0] / 257).astype(np.uint8), mask  # 65535 = 257 x 255
