"""Lesions of a slice as objects: connected components with boxes, labels and masks, what a detector learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import torch

from covidct.errors import InputError, UsageError
from covidct.labels import LESION_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.labels import MaskType

__all__ = ("MIN_OBJECT_AREA", "keep_large_objects", "lesion_instances")

MIN_OBJECT_AREA = 100
"""An object has more pixels than this, in slices of 512 x 512 (COVID-CT-Mask-Net, published code: data set class)."""

Mask = TypeVar("Mask", "NDArray[np.uint8]", "Tensor")


def lesion_instances(
    lesion_mask: NDArray[np.uint8] | Tensor, *, mask_type: MaskType = "both", min_area: int = 0
) -> dict[str, Tensor]:
    """Objects of a slice in torchvision's form: the connected parts (8 neighbours) of each class.

    Args:
        lesion_mask: (H, W) uint8, 0 none, 1 ground-glass opacity, 2 consolidation.
        mask_type: ``"both"``: parts of 1 and parts of 2, labels 1 and 2; ``"ggo"``: parts of 1, label 1;
            ``"merge"``: parts of everything above 0, label 1. Names: :data:`covidct.labels.LESION_CLASSES`.
        min_area: an object has more pixels than this; :data:`MIN_OBJECT_AREA` is the published one.

    Returns:
        ``boxes`` (N, 4) float32, x0, y0, x1, y1 in pixels, the maximum exclusive; ``labels`` (N,) int64; ``masks``
        (N, H, W) uint8, 0 and 1. By label, then by the top and the left edge of the box. N may be 0.

    Raises:
        InputError: when the mask has another form or holds other values.
        UsageError: for an unknown mask type.
    """
    plane = _checked(lesion_mask, axes=(2,))
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    pieces: list[NDArray[np.bool_]] = []
    dx, dy, columns, rows = cv2.boundingRect(plane)  # lesions fill a small part of a slice: the work is done there
    for label, binary in _classes(np.ascontiguousarray(plane[dy : dy + rows, dx : dx + columns]), mask_type):
        numbers, stats = _components(binary)
        kept = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] > min_area)
        kept = kept[kept > 0]  # number 0 is the background
        left, top, area = (stats[kept, key] for key in (cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP, cv2.CC_STAT_AREA))
        for number in kept[np.lexsort((area, left, top))]:
            x, y, width, height = (int(value) for value in stats[number, :4])
            boxes.append((dx + x, dy + y, dx + x + width, dy + y + height))
            labels.append(label)
            pieces.append(numbers[y : y + height, x : x + width] == number)
    masks = np.zeros((len(boxes), *plane.shape), dtype=np.uint8)
    for mask, (x0, y0, x1, y1), piece in zip(masks, boxes, pieces, strict=True):
        mask[y0:y1, x0:x1] = piece
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "masks": torch.from_numpy(masks),
    }


def keep_large_objects(lesion_mask: Mask, *, mask_type: MaskType = "both", min_area: int = MIN_OBJECT_AREA) -> Mask:
    """Set to 0 what belongs to no object of more than ``min_area`` pixels, slice by slice.

    Args:
        lesion_mask: (H, W) or (D, H, W) uint8, 0 none, 1 ground-glass opacity, 2 consolidation.
        mask_type: as in :func:`lesion_instances`. With ``"ggo"`` consolidation is no object of any size and stays as
            it is.
        min_area: an object has more pixels than this, in each slice.

    Returns:
        A new mask of the same form: its objects over 0 pixels are those of the given mask over ``min_area`` pixels.

    Raises:
        InputError: when the mask has another form or holds other values.
        UsageError: for an unknown mask type.
    """
    values = _checked(lesion_mask, axes=(2, 3))
    out = values.copy()
    for plane in out if out.ndim == 3 else out[None]:
        for _, binary in _classes(plane, mask_type):
            numbers, stats = _components(binary)
            small = stats[:, cv2.CC_STAT_AREA] <= min_area
            small[0] = False
            plane[small[numbers]] = 0
    if isinstance(lesion_mask, torch.Tensor):
        return torch.from_numpy(out)
    return out


def _checked(lesion_mask: NDArray[Any] | Tensor, *, axes: tuple[int, ...]) -> NDArray[np.uint8]:
    """The mask as a contiguous array, when it is one."""
    values = lesion_mask.cpu().numpy() if isinstance(lesion_mask, torch.Tensor) else np.asarray(lesion_mask)
    if values.ndim not in axes or values.dtype != np.uint8:
        form = "(H, W)" if axes == (2,) else "(H, W) or (D, H, W)"
        raise InputError(f"A lesion mask must be {form} uint8, this one is {values.shape} {values.dtype}.")
    if values.size and values.max() > 2:
        raise InputError(
            f"A lesion mask holds 0, 1 (ground-glass opacity) and 2 (consolidation), this one {int(values.max())}: map "
            "the values of its file."
        )
    return np.ascontiguousarray(values)


def _classes(plane: NDArray[np.uint8], mask_type: MaskType) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Label and pixels of each class that the slice shows."""
    if mask_type not in LESION_CLASSES:
        raise UsageError(f"mask_type={mask_type!r} is unknown: use one of {', '.join(LESION_CLASSES)}.")
    if mask_type == "merge":
        found = [(1, plane > 0)]
    else:
        found = [(value, plane == value) for value in range(1, len(LESION_CLASSES[mask_type]))]
    yield from ((label, binary) for label, binary in found if binary.any())


def _components(binary: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Number of the part of each pixel (0 outside), and left, top, width, height, area of each part."""
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(binary.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return np.asarray(numbers), np.asarray(stats)
