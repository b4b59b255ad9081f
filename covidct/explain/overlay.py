"""Maps in colour on grey slices, with a fixed scale. numpy and OpenCV only.

The document (section III.C) wants heavy colour where the class is suspected and light or no colour where the image is
normal: "red color means the high probability, green and blue are next priority". It names no colour map and no opacity:
the jet map, from blue to red, and an opacity in proportion to the value are recommendations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy import ndimage

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.volume import Volume

__all__ = ("heat_colours", "maps_on_grid", "overlay", "upsample")

OPACITY = 0.6
"""Opacity at the full scale (recommendation): the slice stays readable under the hottest place."""


def heat_colours(values: NDArray[Any]) -> NDArray[np.float32]:
    """Blue, green, red for 0, 1/2, 1: the classic jet map between its pure blue and its pure red.

    Args:
        values: any shape; clipped to [0, 1], NaN counts as 0.

    Returns:
        The shape with (red, green, blue) in [0, 1] at the end.
    """
    v = np.clip(np.nan_to_num(np.asarray(values, np.float32), nan=0.0), 0, 1)[..., None]
    peaks = np.array([2.5, 1.5, 0.5], np.float32)  # of red, green and blue, each one wide
    return np.asarray(np.clip(1.5 - np.abs(3 * v - peaks), 0, 1), np.float32)


def upsample(maps: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear enlargement of a map to a slice; cells are areas, so that their edges fall on edges of the slice.

    Args:
        maps: (h, w); NaN counts as 0.
        size: (H, W) of the slice.

    Returns:
        (H, W) float32.
    """
    height, width = size
    cells = np.nan_to_num(np.asarray(maps, np.float32), nan=0.0)
    return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def overlay(image: NDArray[Any], heat: NDArray[Any], scale: float, *, opacity: float = OPACITY) -> NDArray[np.uint8]:
    """A slice with a map on it: cold places stay grey, hot ones turn blue, green, red.

    Args:
        image: (H, W) uint8, or float in [0, 1].
        heat: (h, w) unscaled map of any size, enlarged bilinearly.
        scale: the value that is fully red: the maximum on training positives (``task.cam_scale[target]``).
        opacity: of the colour at ``scale``, in [0, 1]; below, in proportion to the value.

    Returns:
        (H, W, 3) uint8, red, green, blue.

    Raises:
        UsageError: when the scale is no positive number, or a shape is wrong.
    """
    if not (np.isfinite(scale) and scale > 0):
        raise UsageError(
            f"scale={scale} is no fixed scale: find it on training positives with explain.calibrate (a map scaled by "
            "its own maximum is hot in every scan)."
        )
    if image.ndim != 2 or heat.ndim != 2 or not 0 <= opacity <= 1:
        raise UsageError(
            f"An overlay needs a slice (H, W), a map (h, w) and an opacity in [0, 1], not {image.shape}, {heat.shape} "
            f"and {opacity}."
        )
    grey = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    values = np.clip(upsample(heat, image.shape) / scale, 0, 1)[..., None]
    mixed = grey[..., None] * (1 - opacity * values) + heat_colours(values[..., 0]) * (opacity * values)
    return np.asarray(np.rint(255 * np.clip(mixed, 0, 1)), np.uint8)


def maps_on_grid(
    maps: NDArray[Any],
    *,
    size: tuple[int, int],
    affine: NDArray[np.float64],
    volume: Volume,
    slices: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Bring the maps of a prepared scan to slices of the original one, by the affines, linearly between cells.

    Args:
        maps: (D, h, w) of one scan, D being the slices that the network saw.
        size: (H, W) pixels of those slices.
        affine: (4, 4) float64 of the prepared scan, voxel (w, h, d) to LPS mm: ``batch["affine"]``.
        volume: the original scan.
        slices: indices of its slices to give; None gives all.

    Returns:
        (n, H', W') float32 on the grid of ``volume``.

    Raises:
        InputError: when the geometry of the volume is unknown.
        UsageError: when a slice lies outside the volume, or the maps have another form.
    """
    volume.require_spacing("Bringing a map to the original slices")
    chosen = range(volume.shape[0]) if slices is None else slices
    if maps.ndim != 3 or any(not 0 <= index < volume.shape[0] for index in chosen):
        raise UsageError(
            f"Maps (D, h, w) and slices from 0 to {volume.shape[0] - 1} are needed, not {maps.shape} and "
            f"{list(chosen)}."
        )
    cells = np.array([maps.shape[1] / size[0], maps.shape[2] / size[1]])
    to_prepared = np.linalg.inv(affine) @ volume.affine  # voxel (w, h, d) of the scan to that of the prepared one
    matrix, offset = to_prepared[2::-1, 2::-1].copy(), to_prepared[2::-1, 3].copy()  # in array order (d, h, w)
    matrix[1:] *= cells[:, None]
    offset[1:] = (offset[1:] + 0.5) * cells - 0.5  # centres of pixels to centres of cells
    found = np.empty((len(chosen), *volume.shape[1:]), np.float32)
    source = np.ascontiguousarray(maps, np.float32)
    for place, index in enumerate(chosen):
        start = offset + matrix[:, 0] * index
        ndimage.affine_transform(
            source,
            matrix,
            start,
            output_shape=(1, *volume.shape[1:]),
            output=found[place : place + 1],
            order=1,
            mode="nearest",
        )
    return found
