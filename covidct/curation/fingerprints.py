"""What the search for duplicates keeps of each image: a digest, a hash and a thumbnail, some four kilobytes.

The fingerprint only proposes pairs; :mod:`covidct.curation.confirm` decides.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from covidct.curation.confirm import common_size
from covidct.curation.hashes import perceptual_hashes
from covidct.curation.near_duplicates import TooManyPairsError, near_duplicates, once, similar_pairs
from covidct.curation.slice_order import grey_levels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from covidct.curation.listing import Scan

    Grey8 = NDArray[np.uint8]
    Pairs = NDArray[np.int64]

__all__ = (
    "TURNS",
    "Fingerprint",
    "fingerprint",
    "picture_of",
    "propose_pairs",
    "turned",
)

_THUMB, _DESCRIPTOR = 64, 16  # pixels per side
_FINE, _COARSE = 0.7, 2.7  # pixels of the descriptor: outlines that all chests share are taken off
_CROP = 0.05  # of width and height in all; with the middle and the corners no crop is farther off than half of it
_PLACES = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
# Ours, measured on 543 CT slices and 787 radiographs: copies, cropped and compressed too, lie above 0.945, and an image
# has one candidate on average.
_LEAST_SIMILARITY = 0.93
_MOST = 20_000_000  # candidates of a way
_NO_HASHES = (
    f"More than {_MOST:,} pairs of hashes differ in at most {{}} bits: near duplicates were not looked for by their "
    "hashes; a smaller max_distance may do."
)
_NO_THUMBS = (
    f"More than {_MOST:,} pairs of thumbnails look alike: near duplicates were not looked for by their thumbnails, so "
    "that cropped copies may be missed."
)

TURNS = (
    "as it is",
    "turned by 90 degrees",
    "turned by 180 degrees",
    "turned by 270 degrees",
    "mirrored",
    "mirrored and turned by 90 degrees",
    "mirrored and turned by 180 degrees",
    "mirrored and turned by 270 degrees",
)
"""The eight ways in which a picture can lie, in the order of :func:`turned`."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of an image.

    Attributes:
        digest: sha256 of the decoded pixels and their shape: equal for identical pixels only.
        hash: perceptual hash (pHash).
        thumb: (64, 64) uint8.
    """

    digest: bytes
    hash: int
    thumb: NDArray[np.uint8]


def fingerprint(scan: Scan) -> Fingerprint:
    """Take the fingerprint of a scan or image that was read."""
    picture = picture_of(scan)
    thumb = np.rint(common_size(picture, _THUMB)).astype(np.uint8)
    return Fingerprint(_digest(scan), int(perceptual_hashes([picture], kind="phash")[0]), thumb)


def picture_of(scan: Scan) -> NDArray[np.uint8]:
    """The picture that stands for a scan: an image itself; the mean of a stack's slices, whatever their number.

    Returns:
        (H, W) uint8.
    """
    stack = scan.stack
    return grey_levels(stack[0] if len(stack) == 1 else stack.mean(axis=0))


def turned(picture: NDArray[Any], turn: int) -> NDArray[Any]:
    """A picture in one of the eight ways of :data:`TURNS`: mirrored left to right first, then turned."""
    return np.ascontiguousarray(np.rot90(picture[:, ::-1] if turn >= 4 else picture, turn % 4))


def propose_pairs(
    prints: Sequence[Fingerprint],
    *,
    max_distance: int,
    turns: Sequence[int] = (0,),
    groups: NDArray[np.int64] | None = None,
) -> tuple[Pairs, tuple[str, ...]]:
    """Find pairs of images that may show the same picture.

    Two ways: hashes that differ in few bits (compressed and rescaled copies), and thumbnails of 16 x 16 pixels whose
    outlines are similar, also when one of them is cropped by 5 % in its middle or to any corner (a crop changes up to a
    third of a hash).

    Args:
        prints: of all images.
        max_distance: bits in which hashes may differ.
        turns: indices of :data:`TURNS` in which the one picture may lie to the other.
        groups: (N,) two images of one group are no pair; below 0: in no group. None: all pairs.

    Returns:
        (P, 2) int64 pairs i < j, each once; and, where a way finds more pairs than are kept, a sentence that says what
        was not searched.
    """
    thumbs = [one.thumb for one in prints]
    hashes = np.array([one.hash for one in prints], np.uint64)
    descriptors = _descriptors(thumbs)
    found = np.empty((0, 2), np.int64)
    notes = []

    def by_hash(turn: int) -> Pairs:
        if turn:
            return _turned_hashes(hashes, [turned(thumb, turn) for thumb in thumbs], max_distance, groups)
        return near_duplicates(hashes, max_distance=max_distance, groups=groups, most=_MOST)[0]

    def by_thumb(turn: int) -> Pairs:
        pairs = np.empty((0, 2), np.int64)
        for view in _views(thumbs, turn, descriptors):
            more = similar_pairs(view, descriptors, least=_LEAST_SIMILARITY, groups=groups, most=_MOST)
            pairs = once(np.concatenate([pairs, more]), len(prints))
            if len(pairs) > _MOST:
                raise TooManyPairsError(_NO_THUMBS)
        return pairs

    for way, lost in ((by_hash, _NO_HASHES.format(max_distance)), (by_thumb, _NO_THUMBS)):
        try:
            for turn in turns:
                found = once(np.concatenate([found, way(turn)]), len(prints))
        except TooManyPairsError:
            notes.append(lost)
    return found, tuple(notes)


def _digest(scan: Scan) -> bytes:
    """A scan in its own values; display values in 16 bits, so that the depth of the file does not matter."""
    values: NDArray[Any] = np.rint(65535 * scan.stack).astype("<u2")
    if scan.volume is not None and scan.volume.intensity == "hu":
        values = scan.volume.array.astype("<f4")
    return hashlib.sha256(f"{values.dtype}{values.shape}".encode() + np.ascontiguousarray(values).tobytes()).digest()


def _descriptors(thumbs: Sequence[Grey8]) -> NDArray[np.float32]:
    """(N, 256) float32 of norm 1: outlines of 16 x 16 pixels; 0 for flat pictures."""
    rows = np.empty((len(thumbs), _DESCRIPTOR**2), np.float32)
    for row, thumb in zip(rows, thumbs, strict=True):
        small = common_size(thumb, _DESCRIPTOR)
        fine, coarse = (cv2.GaussianBlur(small, (0, 0), sigma) for sigma in (_FINE, _COARSE))
        row[:] = (fine - coarse).ravel()
    rows -= rows.mean(axis=1, keepdims=True)
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.where(size > 1e-3, rows / np.maximum(size, 1e-3), 0), np.float32)


def _views(thumbs: Sequence[Grey8], turn: int, descriptors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Descriptors of all pictures, lying in another way: whole, and cropped to each place."""
    lying = [turned(thumb, turn) for thumb in thumbs]
    yield _descriptors(lying) if turn else descriptors  # the same array: pairs are compared once
    for place in _PLACES:
        yield _descriptors([_cropped(one, place) for one in lying])


def _cropped(thumb: Grey8, place: tuple[float, float]) -> Grey8:
    """A thumbnail of the picture without 5 % of its height and width; the place says what is kept."""
    kept, spare = 1 - _CROP, _CROP * _THUMB
    middle = (kept - 1) / 2  # pixel centres lie at halves
    down, right = place
    map_: Any = np.array([[kept, 0, right * spare + middle], [0, kept, down * spare + middle]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(thumb, map_, (_THUMB, _THUMB), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _turned_hashes(
    hashes: NDArray[np.uint64], lying: Sequence[Grey8], max_distance: int, groups: NDArray[np.int64] | None
) -> Pairs:
    """Pairs of which one is like the other in another way of lying."""
    count = len(hashes)
    both = np.concatenate([hashes, perceptual_hashes(lying, kind="phash")])
    parts = None if groups is None else np.concatenate([groups, groups])
    pairs = near_duplicates(both, max_distance=max_distance, groups=parts, most=_MOST)[0]
    crossed = pairs[(pairs[:, 0] < count) & (pairs[:, 1] >= count)] - [0, count]
    return np.sort(crossed[crossed[:, 0] != crossed[:, 1]], axis=1)
