"""Sizes that a header may claim before anything is allocated for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from covidct.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("MAX_PIXELS", "MAX_VOXELS", "check_size")

MAX_VOXELS = 2**31
"""Voxels of a volume: 8,192 slices of 512 x 512, four times the longest whole-body scan we know of."""

MAX_PIXELS = 2**26
"""Pixels of a 2-D image: 8,192 x 8,192, twice the largest X-ray detector along each side."""

_DEFLATE_RATIO = 1032  # the most that one byte of a deflate stream can unfold to (zlib's technical page)


def check_size(shape: Sequence[int], itemsize: int, *, held: int, compressed: bool) -> None:
    """Refuse a header that claims more voxels than its file can hold, or than any scan has.

    Args:
        shape: voxels per axis, as claimed.
        itemsize: bytes per voxel.
        held: bytes that the file holds for them.
        compressed: whether these are deflated.

    Raises:
        InputError: for an empty axis, or too many voxels.
    """
    size = " x ".join(str(n) for n in shape)
    if min(shape, default=0) < 1:
        raise InputError(f"The header claims {size} voxels: it is damaged, export the file again.")
    if math.prod(shape) > MAX_VOXELS:
        raise InputError(f"The header claims {size} voxels, more than any scan has: it is damaged or not a scan.")
    needed = math.prod(shape) * itemsize
    if needed > held * (_DEFLATE_RATIO if compressed else 1):
        raise InputError(
            f"The file ends too early: its header claims {size} voxels ({needed:,} bytes), but it holds {held:,} "
            f"{'compressed ' if compressed else ''}bytes: copy or export it again."
        )
