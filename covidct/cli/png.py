"""``write_png``: pictures of the command line, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidct.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ("write_png",)


def write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write a PNG, whole or not at all.

    Args:
        pixels: (H, W) uint8 grey, or (H, W, 3) blue, green, red.
        path: the file; its folder is made when absent.
    """
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels))
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
