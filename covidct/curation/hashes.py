"""Perceptual hashes of slices, bit for bit those of the package ImageHash, several times faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct.errors import UsageError
from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ("HashKind", "hamming_distance", "perceptual_hashes")

HashKind = Literal["ahash", "dhash", "phash"]

_SIZES: dict[HashKind, tuple[int, int]] = {"ahash": (8, 8), "dhash": (9, 8), "phash": (32, 32)}  # width, height
_BLOCK = 32  # images per call of a thread


def perceptual_hashes(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], *, kind: HashKind = "ahash"
) -> NDArray[np.uint64]:
    """Hash 8-bit images: alike pictures get alike bits.

    All kinds reduce the image with Pillow's Lanczos filter first. ``"ahash"`` asks of 8 x 8 pixels which are above
    their mean; ``"dhash"`` of 9 x 8 pixels which are brighter than their left neighbour; ``"phash"`` of the 8 x 8
    lowest frequencies of the cosine transform of 32 x 32 pixels which are above their median. The bits are those of
    ``imagehash.average_hash``, ``dhash`` and ``phash`` with their defaults (ImageHash 4.3), first bit highest:
    ``int(str(imagehash.phash(image)), 16)``.

    Args:
        images: (N, H, W) uint8, or N arrays (H, W) of any sizes.
        kind: of hash.

    Returns:
        (N,) uint64.

    Raises:
        UsageError: for an unknown kind, or images that are not 8-bit grey.
    """
    if kind not in _SIZES:
        raise UsageError(f"The hash {kind!r} is unknown: use 'ahash', 'dhash' or 'phash'.")
    wrong = next((image for image in images if image.dtype != np.uint8 or image.ndim != 2 or 0 in image.shape), None)
    if wrong is not None:
        raise UsageError(f"An image is {wrong.dtype} of shape {wrong.shape}: hashes need grey uint8 (H, W).")
    from covidct.curation.lanczos import reduce_lanczos

    width, height = _SIZES[kind]
    small = np.empty((len(images), height, width), np.uint8)

    def reduce(part: slice) -> None:
        for index in range(part.start, part.stop):
            small[index] = reduce_lanczos(images[index], width, height)

    over_blocks(reduce, len(images), _BLOCK)
    return _packed(_bits(small, kind))


def hamming_distance(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Number of bits in which hashes differ, 0 to 64.

    Args:
        first: uint64 of any shape.
        second: uint64 of any shape that broadcasts with it.

    Returns:
        uint8 of the shape of ``first ^ second``.
    """
    return np.bitwise_count(np.bitwise_xor(first, second))


def _bits(small: NDArray[np.uint8], kind: HashKind) -> NDArray[np.bool_]:
    """(N, 8, 8) decisions."""
    if kind == "ahash":
        return np.asarray(small > small.mean(axis=(1, 2), keepdims=True))
    if kind == "dhash":
        return np.asarray(small[:, :, 1:] > small[:, :, :-1])
    # the transform that ImageHash calls: near-ties with the median hang on the last bit, so no product of matrices
    from scipy.fftpack import dct

    low = dct(dct(small, axis=1), axis=2)[:, :8, :8]
    return np.asarray(low > np.median(low, axis=(1, 2), keepdims=True))


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """64 bits as a number, the first the highest."""
    octets = np.packbits(bits.reshape(len(bits), 64), axis=1)
    return octets.view(np.dtype(">u8")).astype(np.uint64).reshape(-1)
