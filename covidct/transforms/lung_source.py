"""The lung mask that a pre-processing record asks for, on the grid of the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import InputError, UsageError
from covidct.functional import lung_field, segment_lungs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.preprocessing import Preprocessing
    from covidct.volume import Volume

__all__ = ("given_lungs", "lungs_of_volume")


def lungs_of_volume(
    volume: Volume, preprocessing: Preprocessing, given: NDArray[np.uint8] | None
) -> NDArray[np.uint8] | None:
    """The lung mask of a scan: computed, or the given one; None when none is wanted.

    Args:
        volume: the scan.
        preprocessing: its ``mask_source`` decides.
        given: (D, H, W) uint8 that came with the scan, or that a network made of it.

    Returns:
        (D, H, W) uint8, 0 background, 1 right (or either) lung, 2 left lung.

    Raises:
        InputError: when there are no lungs, or the mask is missing, empty or of another shape.
        UsageError: for a mask source that is unknown.
    """
    source = preprocessing.mask_source
    if source in ("threshold", "lung_field"):
        what = f"A lung mask by {source} (mask_source)"
        volume.require_hu(what)
        volume.require_spacing(what)
        find = segment_lungs if source == "threshold" else _field
        found = find(volume.array, volume.spacing)
        if not found.any():
            raise InputError("No lungs were found in this scan: give a chest CT, or a lung mask from a file.")
        return found
    mask = given_lungs(preprocessing, given, "This scan")
    if mask is not None and mask.shape != volume.shape:
        raise InputError(f"The lung mask has shape {mask.shape}, the scan {volume.shape}: give a mask of this scan.")
    return mask


def given_lungs(preprocessing: Preprocessing, given: NDArray[np.uint8] | None, what: str) -> NDArray[np.uint8] | None:
    """The lung mask that came with the input, or None when none is wanted.

    Args:
        preprocessing: its ``mask_source`` decides.
        given: the mask.
        what: the input, for messages.

    Raises:
        InputError: when a mask is wanted and is missing or empty.
        UsageError: for a mask source that must be computed from a volume, or is unknown.
    """
    source = preprocessing.mask_source
    if source == "none":
        return None
    if source != "file" and not source.startswith("checkpoint:"):
        raise UsageError(f"mask_source={source!r} does not fit here: use 'none', 'file' or 'checkpoint:<sha256>'.")
    if given is None:
        raise InputError(f"{what} comes without a lung mask, but mask_source={source!r} needs one.")
    if not given.any():
        raise InputError(f"{what} has an empty lung mask: no lungs to look at.")
    return given


def _field(hu: NDArray[np.float32], spacing: tuple[float, float, float]) -> NDArray[np.uint8]:
    """The published lung field; empty when its own checks find no lungs."""
    return lung_field(hu, spacing).mask
