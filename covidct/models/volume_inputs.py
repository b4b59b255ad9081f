"""What networks of slices share: checks of a batch of volumes, and the size at which slices enter the trunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

from covidct.errors import BatchError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("check_statistics", "check_volumes", "resized", "slice_pixels")

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
