"""What networks of slices share: checks of volumes and arguments, slices out of volumes and back, their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from covidct.errors import BatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = (
    "check_real",
    "check_size",
    "check_statistics",
    "check_volumes",
    "in_chunks",
    "in_volumes",
    "max_over_slices",
    "resized",
    "slice_pixels",
    "slices_of",
)

_STRIDE = 32  # of torchvision's ResNets, from the image to the last feature map


def check_volumes(image: Tensor, lung_mask: Tensor | None, slice_mask: Tensor | None) -> None:
    """Refuse shapes that do not fit one another.

    Args:
        image: should be (B, 1 or 3, D, H, W).
        lung_mask: should be (B, 1, D, H, W).
        slice_mask: should be (B, D).

    Raises:
        BatchError: names the tensor and the shape.
    """
    if image.ndim != 5 or image.shape[1] not in (1, 3):
        raise BatchError(f"'image' must be (B, 1 or 3, D, H, W), its shape is {tuple(image.shape)}.")
    wanted = (image.shape[0], 1, *image.shape[2:])
    if lung_mask is not None and lung_mask.shape != wanted:
        raise BatchError(f"'lung_mask' must have the shape {tuple(wanted)}, it has {tuple(lung_mask.shape)}.")
    if slice_mask is not None and slice_mask.shape != (wanted[0], wanted[2]):
        raise BatchError(
            f"'slice_mask' must have the shape {(wanted[0], wanted[2])}, it has {tuple(slice_mask.shape)}."
        )


def check_real(slice_mask: Tensor) -> None:
    """Refuse volumes of padding alone.

    Args:
        slice_mask: (B, D) bool, True = real slice.

    Raises:
        BatchError: when a volume has no real slice.
    """
    if not bool(slice_mask.any(1).all()):
        raise BatchError("A volume of the batch has no real slice: its slice_mask is False throughout.")


def check_size(name: str, value: int | None, *, optional: bool = True) -> None:
    """Refuse an argument that is no positive whole number.

    Args:
        name: of the argument, for the message.
        value: of the argument.
        optional: whether None is one too.

    Raises:
        UsageError: names the argument and what it may be.
    """
    if (value is None and optional) or (type(value) is int and value >= 1):
        return
    or_none = ", or null" if optional else ""
    raise UsageError(f"{name}={value!r} is not usable: give a whole number of at least 1{or_none}.")


def check_statistics(count: int, size: tuple[int, int]) -> None:
    """Refuse slices whose last feature map is one value per channel: batch normalisation needs two.

    Args:
        count: slices that are normalised together.
        size: their height and width in pixels.

    Raises:
        BatchError: says what to raise.
    """
    if count * -(-size[0] // _STRIDE) * -(-size[1] // _STRIDE) < 2:
        raise BatchError(
            f"{count} slice of {size[0]}x{size[1]} pixels gives batch normalisation one value per channel: raise "
            "slice_size above 32, or give more slices."
        )


def slices_of(volumes: Tensor, used: Tensor | None) -> Tensor:
    """The slices of a batch of volumes, volume by volume.

    Args:
        volumes: (B, C, D, H, W).
        used: (B, D) bool, which of them; None takes all, without data-dependent shapes.

    Returns:
        (N, C, H, W).
    """
    if used is None and volumes.shape[1] == 1:  # the same with the strides of slices, which PyTorch 2.11 exports
        return volumes[:, 0].flatten(0, 1)[:, None]
    slices = volumes.transpose(1, 2)
    return slices.flatten(0, 1) if used is None else slices[used]


def in_volumes(rows: Tensor, used: Tensor) -> Tensor:
    """Rows of slices in the places of their slices.

    Args:
        rows: (N, F), as many as ``used`` has True, volume by volume.
        used: (B, D) bool.

    Returns:
        (B, D, F), 0 elsewhere.
    """
    return rows.new_zeros(*used.shape, rows.shape[-1]).index_put(used.nonzero(as_tuple=True), rows)


def in_chunks(encode: Callable[..., Tensor], *slices: Tensor, step: int) -> Tensor:
    """Encode slices a few at a time, which bounds the memory.

    Args:
        encode: of tensors (n, ...) to (n, F), row by row.
        slices: (N, ...) each.
        step: rows per call.

    Returns:
        (N, F).
    """
    count = len(slices[0])
    return torch.cat([encode(*(part[i : i + step] for part in slices)) for i in range(0, count, step)])


def max_over_slices(features: Tensor, used: Tensor) -> Tensor:
    """Element-wise maximum over the slices of each volume (COVNet's rule).

    Args:
        features: (B, D, F).
        used: (B, D) bool, at least one True per volume.

    Returns:
        (B, F), with a gradient in one slice per feature only.
    """
    return features.masked_fill(~used[..., None], -torch.inf).max(1).values


def slice_pixels(height: int, width: int, longer: int | None) -> tuple[int, int]:
    """Height and width in pixels of a slice whose longer side becomes ``longer``; None keeps them."""
    if longer is None:
        return height, width
    side = max(height, width)
    return max(1, round(height * longer / side)), max(1, round(width * longer / side))


def resized(slices: Tensor, size: tuple[int, int]) -> Tensor:
    """Slices (N, C, H, W) at another size in pixels, bilinear; anti-aliased when they shrink."""
    if size == slices.shape[-2:]:
        return slices
    shrinks = size[0] < slices.shape[-2]
    return F.interpolate(slices, size, mode="bilinear", align_corners=False, antialias=shrinks)
