"""Pictures of a scan for its report: slices with lung masks and pooling weights, the montage of slice attention."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from covidct.inference.attention import attention_montage, native_slices, shown_slices
from covidct.result import Preview
from covidct.transforms import prepare_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from covidct.preprocessing import Preprocessing
    from covidct.result import AttentionMontage
    from covidct.sample import Batch
    from covidct.volume import Volume

__all__ = ("choose_slices", "finer_preview", "make_montage", "make_preview")

_READABLE = 128  # voxels across a picture: the published cube's
_SHOWN = 6  # slices of a scan in its report: a row that is read at a glance


def make_preview(
    batch: Batch, index: int, *, scores: tuple[float, ...] = (), weights: torch.Tensor | None = None
) -> Preview | None:
    """Pictures of one scan of a batch: slices evenly spaced through the lungs, the one of highest score among them.

    Args:
        batch: CT volumes with ``lung_mask``, or CT slices, each of which is its own picture.
        index: of the scan in the batch.
        scores: score or attention of each slice, NaN where there is none.
        weights: (B, D, h, w) pooling weights, or None.

    Returns:
        At most six slices; None for volumes without lung masks.
    """
    if batch["image"].ndim == 4:
        return _slice_preview(batch, index)
    if "lung_mask" not in batch:
        return None
    mask = batch["lung_mask"][index, 0].cpu().numpy()
    image = batch["image"][index, 0].cpu().numpy()
    chosen = choose_slices(mask, np.asarray(scores, dtype=np.float64))
    return Preview(
        slices=np.rint(image[chosen] * 255).astype(np.uint8),
        lung_mask=mask[chosen],
        weights=None if weights is None else weights[index, chosen].cpu().numpy(),
        indices=tuple(int(number) for number in chosen),
    )


def _slice_preview(batch: Batch, index: int) -> Preview:
    """One slice of a batch of slices, with what is known of the lungs."""
    image = np.rint(batch["image"][index, :1].cpu().numpy() * 255).astype(np.uint8)
    mask = batch["lung_mask"][index].cpu().numpy() if "lung_mask" in batch else np.zeros_like(image)
    return Preview(slices=image, lung_mask=mask, weights=None, indices=(0,))


def finer_preview(
    preview: Preview, volume: Volume, record: Preprocessing, *, lung_mask: NDArray[np.uint8] | None = None
) -> Preview:
    """The same slices at a resolution that a person can read, and whole where the network sees the lungs alone.

    Args:
        preview: of the cube or the slices that the network saw.
        volume: the scan.
        record: made the cube of the scan.
        lung_mask: on the grid of the scan, where the record's ``mask_source`` is a file.

    Returns:
        Slices of a multiple of the voxels, at least 128 along each axis of a cube or a slice; ``preview`` itself where
        its own is fine enough.
    """
    if record.size is None or record.size >= _READABLE or volume.intensity != "hu":
        return preview
    times = -(-_READABLE // record.size)
    if record.grid == "slices":
        slices, mask = native_slices(volume, record, preview.indices, size=times * record.size, lung_mask=lung_mask)
        return replace(preview, slices=slices, lung_mask=preview.lung_mask if mask is None else mask)
    finer = prepare_volume(volume, replace(record, size=times * record.size, masking="original"), lung_mask=lung_mask)
    chosen = np.asarray(preview.indices) * times + times // 2
    slices = np.rint(finer["image"][0, chosen] / 257).astype(np.uint8)  # 65535 = 257 x 255
    return replace(preview, slices=slices, lung_mask=finer["lung_mask"][0, chosen])


def make_montage(
    attention: Sequence[float],
    batch: Batch,
    volume: Volume,
    record: Preprocessing,
    *,
    lung_mask: NDArray[np.uint8] | None = None,
) -> AttentionMontage | None:
    """Slice attention of the one scan of a batch in pictures; small slices at a resolution that a person can read.

    Args:
        attention: share of each slice, NaN on those that are none of the scan's.
        batch: of one scan, as the network saw it.
        volume: the scan.
        record: made the batch of the scan.
        lung_mask: on the grid of the scan, where the record's ``mask_source`` is a file.

    Returns:
        The montage; None where no slice is the scan's.
    """
    indices = shown_slices(attention)
    if not indices:
        return None
    if record.size is not None and record.size < _READABLE and record.grid == "slices" and volume.intensity == "hu":
        size = -(-_READABLE // record.size) * record.size
        slices, _ = native_slices(volume, record, indices, size=size, lung_mask=lung_mask)
    else:
        slices = np.rint(batch["image"][0, 0, indices].cpu().numpy() * 255).astype(np.uint8)
    return attention_montage(slices, attention, indices)


def choose_slices(mask: NDArray[np.uint8], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the slices to show, feet to head: through the lungs where there are any, the best among them.

    Args:
        mask: (D, H, W) lungs; all 0 where they are unknown.
        scores: (D,) of the slices, NaN where there is none; may be empty.
    """
    lung = np.flatnonzero(mask.any((1, 2)))
    if not len(lung):
        lung = np.arange(len(mask))
    if len(lung) <= _SHOWN:
        return lung
    places = np.linspace(0, len(lung) - 1, _SHOWN + 2)[1:-1]
    chosen = set(lung[np.rint(places).astype(np.int64)].tolist())
    if np.isfinite(scores).any():
        best = int(np.nanargmax(scores))
        chosen = {best, *sorted(chosen, key=lambda number: abs(number - best))[1:]} if chosen else {best}
    return np.array(sorted(chosen), dtype=np.int64)
