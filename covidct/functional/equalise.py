"""Histogram equalisation of slices: global, contrast limited in tiles (CLAHE), and the one after the other.

Source: the document of the gated dual-contrast ensemble (D000), which enhances its slices by global equalisation and
then by CLAHE and leaves out every parameter; those here are recommendations. Slices are equalised one by one: a slice
alone and in its stack come out alike.

Everything works on 256 grey levels, as both methods are defined and as OpenCV does it. Finer histograms do not suit
them: of 65,536 levels a tile of 64 x 64 pixels has fewer pixels than bins, so that a clip limit relative to the mean
bin clips nothing but repeated values. A level is 6 HU in a window of 1500 HU, below the noise of a CT.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

import cv2
import numpy as np

from covidct.errors import InputError, UsageError
from covidct.functional.intensity import window_hu
from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    Window = tuple[float, float]
    Equaliser = Callable[[NDArray[np.uint8], NDArray[np.uint8] | None], NDArray[np.uint8]]

__all__ = ("clahe", "equalise", "equalise_histogram")

_TOP = 255  # the brightest of 256 levels
_TILES = (8, 8)  # recommendation (OpenCV's default); the document is silent
_CLIP = 2.0  # recommendation; the document is silent
_BLOCK = 4  # slices a thread takes at a time


@overload
def equalise_histogram(
    image: NDArray[np.uint8], *, mask: NDArray[Any] | None = ..., window: None = ...
) -> NDArray[np.uint8]: ...
@overload
def equalise_histogram(
    image: NDArray[Any], *, mask: NDArray[Any] | None = ..., window: Window | None = ...
) -> NDArray[Any]: ...
@overload
def equalise_histogram(image: Tensor, *, mask: Tensor | None = ..., window: Window | None = ...) -> Tensor: ...
def equalise_histogram(
    image: NDArray[Any] | Tensor, *, mask: NDArray[Any] | Tensor | None = None, window: Window | None = None
) -> NDArray[Any] | Tensor:
    """Spread the grey levels of each slice evenly: global histogram equalisation.

    ``s_k = round(255 (cdf(k) - cdf_min) / (N - cdf_min))`` (R. C. Gonzalez, R. E. Woods, "Digital Image Processing",
    in the form with ``cdf_min``): cdf(k) counts the pixels up to level k, ``cdf_min`` those of the darkest level there
    is, N all of them. The darkest level becomes 0 however many pixels it has: a background clipped to black takes
    no share of the grey scale.

    Args:
        image: (..., H, W), an array or a tensor: uint8, float in [0, 1] (rounded to 256 levels), or HU with a
            ``window``.
        mask: what counts, of the image's shape or (H, W), non-zero inside (a body, say); pixels outside follow the
            same curve. A slice with nothing inside stays as it is. None: all pixels count.
        window: (low, high) in HU, applied first. Only pixels inside it count then, so that what is clipped at either
            end takes no share of the grey scale: it becomes 0 or 1. None for display values.

    Returns:
        Same shape, kind and device as ``image``: uint8 for uint8, else float32 in [0, 1] in steps of 1/255. A constant
        slice stays as it is.

    Raises:
        UsageError: for HU without a window, a window for uint8, an empty window, values that are not finite or a mask
            of another shape.
        InputError: when the image has fewer than two axes or no pixels.
    """
    inside = None if mask is None else _array(mask) != 0
    return _each_slice(image, lambda: _by_cdf, window, inside)


@overload
def clahe(
    image: NDArray[np.uint8], *, tiles: tuple[int, int] = ..., clip_limit: float = ..., window: None = ...
) -> NDArray[np.uint8]: ...
@overload
def clahe(
    image: NDArray[Any], *, tiles: tuple[int, int] = ..., clip_limit: float = ..., window: Window | None = ...
) -> NDArray[Any]: ...
@overload
def clahe(
    image: Tensor, *, tiles: tuple[int, int] = ..., clip_limit: float = ..., window: Window | None = ...
) -> Tensor: ...
def clahe(
    image: NDArray[Any] | Tensor,
    *,
    tiles: tuple[int, int] = _TILES,
    clip_limit: float = _CLIP,
    window: Window | None = None,
) -> NDArray[Any] | Tensor:
    """Equalise each slice in tiles, with limited slope: contrast limited adaptive histogram equalisation.

    K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994, by OpenCV: the histogram
    of each tile is clipped, what was cut off is spread over all levels, and each pixel gets the bilinear mean of the
    curves of the four tiles around it. The clip also holds a background clipped to black at bay.

    Args:
        image: (..., H, W) as in :func:`equalise_histogram`; at least a pixel a tile.
        tiles: rows and columns of tiles; 8 x 8 (recommendation, OpenCV's default; the document is silent).
        clip_limit: highest bin, as a multiple of the mean bin (OpenCV's convention); 2 (recommendation; the document
            is silent). 0: no limit.
        window: (low, high) in HU, applied first. None for display values.

    Returns:
        As :func:`equalise_histogram`, but a constant slice does not stay as it is: as in OpenCV, what is cut off its
        one bin is spread over all levels, so that 7 of 255 becomes 10 in a slice of 512 x 512.

    Raises:
        UsageError: as :func:`equalise_histogram`, and for a number of tiles or a limit that is not usable.
        InputError: as :func:`equalise_histogram`.
    """
    return _each_slice(image, lambda: _by_tiles(image.shape, tiles, clip_limit), window)


@overload
def equalise(
    image: NDArray[np.uint8], *, tiles: tuple[int, int] = ..., clip_limit: float = ..., window: None = ...
) -> NDArray[np.uint8]: ...
@overload
def equalise(
    image: NDArray[Any], *, tiles: tuple[int, int] = ..., clip_limit: float = ..., window: Window | None = ...
) -> NDArray[Any]: ...
@overload
def equalise(
    image: Tensor, *, tiles: tuple[int, int] = ..., clip_limit: float = ..., window: Window | None = ...
) -> Tensor: ...
def equalise(
    image: NDArray[Any] | Tensor,
    *,
    tiles: tuple[int, int] = _TILES,
    clip_limit: float = _CLIP,
    window: Window | None = None,
) -> NDArray[Any] | Tensor:
    """Global equalisation, then CLAHE: the enhancement of the document (D000, section 3.2.3).

    Args:
        image: (..., H, W) as in :func:`equalise_histogram`; at least a pixel a tile.
        tiles: of :func:`clahe`.
        clip_limit: of :func:`clahe`.
        window: (low, high) in HU, as in :func:`equalise_histogram`. None for display values.

    Returns:
        As :func:`clahe`; a constant slice is moved by it.

    Raises:
        UsageError: as :func:`clahe`.
        InputError: as :func:`clahe`.
    """

    def both() -> Equaliser:
        local = _by_tiles(image.shape, tiles, clip_limit)
        return lambda levels, inside: local(_by_cdf(levels, inside), None)

    return _each_slice(image, both, window)


def _each_slice(
    image: NDArray[Any] | Tensor,
    make: Callable[[], Equaliser],
    window: Window | None,
    inside: NDArray[np.bool_] | None = None,
) -> NDArray[Any] | Tensor:
    """Levels of each slice through what ``make`` makes (once per thread: OpenCV's CLAHE keeps a state)."""
    pixels = _array(image)
    _check(pixels, window, inside)
    make()  # refuses wrong options even of an empty stack
    whole = pixels.dtype == np.uint8
    out = np.empty(pixels.shape, np.uint8 if whole else np.float32)
    planes, drawn = _planes(pixels), _planes(out)
    masks = None if inside is None else _planes(np.broadcast_to(inside, pixels.shape))

    def work(part: slice) -> None:
        equaliser = make()
        for k in range(part.start, part.stop):
            counted = None if masks is None else masks[k].astype(np.uint8)
            levels = np.ascontiguousarray(planes[k])
            if window is not None:
                within = ((levels >= window[0]) & (levels <= window[1])).view(np.uint8)
                counted = within if counted is None else counted & within
                levels = window_hu(levels, *window)
            if whole:
                drawn[k] = equaliser(levels, counted)
            else:
                levels = np.asarray(cv2.convertScaleAbs(np.asarray(levels, np.float32), alpha=_TOP), np.uint8)
                np.multiply(equaliser(levels, counted), np.float32(1 / _TOP), out=drawn[k])

    over_blocks(work, len(planes), _BLOCK)
    if isinstance(image, np.ndarray):
        return out
    import torch

    return torch.from_numpy(out).to(image.device)


def _by_cdf(levels: NDArray[np.uint8], inside: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Global equalisation of a slice; ``inside``: what counts."""
    counts = cv2.calcHist([levels], [0], inside, [_TOP + 1], [0, _TOP + 1]).ravel().astype(np.int64)
    present = np.flatnonzero(counts)
    if len(present) < 2:  # nothing to spread
        return levels
    cdf = np.cumsum(counts)
    darkest = counts[present[0]]
    curve = np.rint(_TOP * (cdf - darkest).clip(0) / (cdf[-1] - darkest)).astype(np.uint8)
    return np.asarray(cv2.LUT(levels, curve), np.uint8)


def _by_tiles(shape: tuple[int, ...], tiles: tuple[int, int], clip_limit: float) -> Equaliser:
    """CLAHE of a slice."""
    if len(tiles) != 2 or not all(type(count) is int and count >= 1 for count in tiles):
        raise UsageError(f"tiles={tiles!r} is not usable: give the number of rows and columns of tiles, 1 or more.")
    if not (math.isfinite(clip_limit) and clip_limit >= 0):
        raise UsageError(f"clip_limit={clip_limit!r} is not usable: give a number of at least 0 (0: no limit).")
    if any(count > side for count, side in zip(tiles, shape[-2:], strict=True)):
        raise UsageError(
            f"Slices of {shape[-2]} x {shape[-1]} pixels cannot be divided into {tiles[0]} x {tiles[1]} tiles: give "
            "fewer tiles."
        )
    local = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=tiles[::-1])  # OpenCV counts columns first
    return lambda levels, _: np.asarray(local.apply(levels), np.uint8)


def _array(image: NDArray[Any] | Tensor) -> NDArray[Any]:
    """Values as an array; half precision, which numpy may not know, as float32."""
    if isinstance(image, np.ndarray):
        return image
    values = image.detach().cpu()
    return np.asarray((values.float() if values.is_floating_point() else values).numpy())


def _planes(stack: NDArray[Any]) -> NDArray[Any]:
    """(N, H, W) view of one or many slices."""
    return stack.reshape(-1, *stack.shape[-2:])


def _check(pixels: NDArray[Any], window: Window | None, inside: NDArray[np.bool_] | None) -> None:
    """Refuse what has no 256 levels."""
    if pixels.ndim < 2 or 0 in pixels.shape[-2:]:
        raise InputError(f"An array of shape {pixels.shape} is no image: give (H, W) or a stack (..., H, W).")
    if inside is not None and inside.shape not in (pixels.shape, pixels.shape[-2:]):
        raise UsageError(f"The mask has the shape {inside.shape}, the image {pixels.shape}: they must be the same.")
    if pixels.dtype == np.uint8:
        if window is not None:
            raise UsageError("A window in HU is given for uint8, which holds display values: leave the window out.")
        return
    if window is not None and not (math.isfinite(window[0]) and math.isfinite(window[1]) and window[0] < window[1]):
        raise UsageError(f"The window {tuple(window)} is empty: give (low, high) in HU with low < high.")
    if pixels.size == 0:
        return
    low, high = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError("The image holds values that are not finite: replace them first.")
    if window is None and (pixels.dtype.kind != "f" or low < 0 or high > 1):
        raise UsageError(
            f"The image is {pixels.dtype} with values from {low:g} to {high:g}, which are no display values: apply a "
            "window to Hounsfield units first, or give window=(low, high); otherwise give uint8 or float in [0, 1]."
        )
