"""Pillow's Lanczos reduction of 8-bit images as a compiled kernel, bit for bit: what perceptual hashes begin with.

Pillow works in fixed point and spends most of the time of a hash there, without the processor's vector units. Import
this module at the first use only: numba costs a second; the machine code is then cached on disk.
"""

# ruff: noqa: ANN401 - numba infers the types

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from covidct.curation.compiled import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Weights = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]

__all__ = ("reduce_lanczos",)

# Pillow, src/libImaging/Resample.c: PRECISION_BITS = 32 - 8 - 2, support 3, horizontal pass first, rounded to 8 bits.
_BITS = 22
_HALF = np.int32(1 << (_BITS - 1))
_SUPPORT = 3.0
_TALLER = 1.25  # since Pillow 13 the vertical pass comes first where it reduces much more; that is left to Pillow


def reduce_lanczos(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize as ``PIL.Image.Image.resize((width, height), LANCZOS)`` does.

    Args:
        image: (H, W) uint8.
        width: columns of the result.
        height: rows of the result.

    Returns:
        (height, width) uint8.
    """
    rows, columns = image.shape
    if image.shape == (height, width) or rows * width > _TALLER * columns * height or not _as_pillow():
        return _pillow(image, width, height)
    return _compiled(image, width, height)


def _pillow(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8)


def _compiled(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    out = np.empty((height, width), np.uint8)
    _two_passes(np.ascontiguousarray(image), _weights(image.shape[1], width), _weights(image.shape[0], height), out)
    return out


@cache
def _as_pillow() -> bool:
    """Whether the Pillow at hand computes what the kernel does; another release might not."""
    noise = np.random.default_rng(0).integers(0, 256, (72, 64), dtype=np.uint8)
    return np.array_equal(_compiled(noise, 32, 32), _pillow(noise, 32, 32))


@cache
def _weights(size: int, out: int) -> Weights:
    """Weights of one axis in fixed point: (out, taps) int32, the first pixel of each, and how many count."""
    scale = size / out
    stretch = max(scale, 1.0)
    support = _SUPPORT * stretch
    taps = np.zeros((out, math.ceil(support) * 2 + 1), np.int32)
    first, count = np.zeros(out, np.int64), np.zeros(out, np.int64)
    for index in range(out):
        centre = (index + 0.5) * scale
        low, high = max(0, int(centre - support + 0.5)), min(size, int(centre + support + 0.5))
        x = (np.arange(low, high) - centre + 0.5) / stretch
        weights = np.where((x >= -_SUPPORT) & (x < _SUPPORT), np.sinc(x) * np.sinc(x / _SUPPORT), 0.0)
        scaled = weights / weights.sum() * (1 << _BITS)
        taps[index, : high - low] = np.trunc(scaled + np.copysign(0.5, scaled))
        first[index], count[index] = low, high - low
    return taps, first, count


@jit
def _two_passes(image: Any, across: Any, down: Any, out: Any) -> None:  # pragma: no cover - compiled
    taps, first, count = across
    taps_down, first_down, count_down = down
    middle = np.empty((image.shape[0], taps.shape[0]), np.uint8)
    for row in range(image.shape[0]):
        for column in range(taps.shape[0]):
            pixels = image[row, first[column] : first[column] + count[column]]
            weights = taps[column]
            total = _HALF
            for index in range(pixels.shape[0]):
                total += np.int32(pixels[index]) * weights[index]
            middle[row, column] = min(max(total >> _BITS, 0), 255)
    totals = np.empty(taps.shape[0], np.int32)
    for row in range(taps_down.shape[0]):
        totals[:] = _HALF
        for index in range(count_down[row]):
            weight = taps_down[row, index]
            pixels = middle[first_down[row] + index]
            for column in range(totals.shape[0]):
                totals[column] += np.int32(pixels[column]) * weight
        for column in range(totals.shape[0]):
            out[row, column] = min(max(totals[column] >> _BITS, 0), 255)
