"""``keep_lungs``: what is left of a predicted lung mask after its islands and holes are mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from covidct.errors import InputError
from covidct.functional.morphology import enclosed, label_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ("keep_lungs",)


def keep_lungs(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest part of each lung and fill its holes, in 3-D (recommendation; the documents are silent).

    Parts hang together by faces (6 neighbours). A hole is background, or what was an island, that no path by faces
    joins to the border of the volume. A voxel of the largest part of one lung is never filled by the other.

    Args:
        mask: (D, H, W) uint8, 0 background, 1 right lung, 2 left lung. A mask without sides (only 1) would lose one of
            its lungs.

    Returns:
        (D, H, W) uint8, a new array. An absent lung stays absent.

    Raises:
        InputError: when the mask is not of that form.
    """
    if mask.ndim != 3 or mask.dtype != np.uint8 or (mask.size and mask.max() > 2):
        raise InputError(
            f"keep_lungs needs a (D, H, W) uint8 mask of 0, 1 and 2, not {mask.dtype} of shape {mask.shape}: give the "
            "labels of one volume."
        )
    kept, filled = np.zeros_like(mask), np.zeros_like(mask)
    for side, box in enumerate(find_objects(mask, max_label=2), 1):
        if box is None:
            continue
        labels, _ = label_volume((mask[box] == side).view(np.uint8))
        largest = (labels == 1).view(np.uint8)
        kept[box][largest > 0] = side
        filled[box][enclosed(largest)] = side
    return np.where(kept > 0, kept, filled)
