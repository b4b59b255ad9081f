"""Small pictures of a body with lungs, of a given contrast and brightness; ill ones have a bright spot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ("grey", "picture", "write")


def picture(rng: np.random.Generator, *, ill: bool, contrast: float, brightness: float = 0.5) -> NDArray[np.uint8]:
    """A bright body with two dark lungs and some noise, (48, 48) uint8."""
    y, x = np.mgrid[:48, :48] / 23.5 - 1
    body = (y / 0.8) ** 2 + (x / 0.9) ** 2 <= 1
    lungs = (y / 0.5) ** 2 + ((abs(x) - 0.4) / 0.25) ** 2 <= 1
    image = np.where(body, brightness + contrast / 2, 0.02) - contrast * lungs
    if ill:
        image[20:30, 10:18] = brightness + contrast / 2
    noisy: NDArray[np.float64] = (image + 0.02 * rng.normal(size=image.shape)).clip(0, 1)
    return np.rint(255 * noisy).astype(np.uint8)


def write(path: Path, image: NDArray[np.uint8]) -> None:
    """As PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def grey(path: Path) -> NDArray[np.uint8]:
    """Back again."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
