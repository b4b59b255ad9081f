"""``perceptual_hashes``: the bits of ImageHash on noise, smooth, constant and odd-sized images."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image

import covidct.curation.lanczos as lanczos
from covidct.curation import hamming_distance, perceptual_hashes
from covidct.curation.hashes import HashKind
from covidct.errors import UsageError

KINDS: dict[HashKind, object] = {
    "ahash": imagehash.average_hash,
    "dhash": imagehash.dhash,
    "phash": imagehash.phash,
}


def images() -> list[np.ndarray]:
    """Noise, gradients, waves, flat and symmetric pictures; square, wide, tall, tiny, and of the hash's own size."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :90]
    sizes = [
        (512, 512),
        (61, 115),
        (301, 33),
        (33, 300),
        (20, 20),
        (32, 32),
        (8, 8),
        (8, 9),
        (1, 1),
        (7, 300),
        (200, 130),
    ]
    noise = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    smooth = [(127 + 127 * np.sin(x / a) * np.cos(y / b)).astype(np.uint8) for a, b in ((9, 11), (30, 7), (50, 40))]
    ramps = [np.tile(np.arange(256, dtype=np.uint8), (64, 1)), np.tile(np.arange(256, dtype=np.uint8), (64, 1)).T]
    flat = [np.full((64, 80), value, np.uint8) for value in (0, 7, 255)]
    checks = [(255 * ((x // 10 + y // 10) % 2)).astype(np.uint8), np.eye(100, dtype=np.uint8) * 255]
    views = [noise[0][::2, ::3], noise[0].T[5:200]]  # not contiguous
    return [*noise, *smooth, *ramps, *flat, *checks, *views]


@pytest.mark.parametrize("kind", list(KINDS))
def test_bits_are_those_of_imagehash(kind: HashKind) -> None:
    pictures = images()
    expected = [int(str(KINDS[kind](Image.fromarray(picture))), 16) for picture in pictures]  # type: ignore[operator]
    found = perceptual_hashes(pictures, kind=kind)
    assert found.dtype == np.uint64
    assert found.tolist() == expected
    assert len(set(expected)) > 10


@pytest.mark.parametrize("size", [(64, 64), (100, 90), (130, 90), (130, 106), (300, 90), (90, 300), (513, 700)])
def test_the_kernel_is_pillows_resize(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for picture in (rng.integers(0, 256, size, dtype=np.uint8), 255 * rng.integers(0, 2, size, dtype=np.uint8)):
        for width, height in ((8, 8), (9, 8), (32, 32), (64, 40)):
            expected = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
            assert np.array_equal(lanczos.reduce_lanczos(picture, width, height), expected)


def test_the_kernel_agrees_with_the_pillow_at_hand() -> None:
    assert lanczos._as_pillow()


def test_another_pillow_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    before = perceptual_hashes(images(), kind="phash")
    monkeypatch.setattr(lanczos, "_as_pillow", lambda: False)
    monkeypatch.setattr(lanczos, "_compiled", None)
    assert np.array_equal(perceptual_hashes(images(), kind="phash"), before)


def test_a_shift_of_brightness_leaves_the_difference_hash() -> None:
    # facts of the published cleaning: without clipping, differences do not change
    picture = np.random.default_rng(2).integers(20, 200, (96, 96), dtype=np.uint8)
    brighter = [picture, picture + np.uint8(30)]
    one, other = perceptual_hashes(brighter, kind="dhash")
    assert one == other


def test_distances_count_bits() -> None:
    first = np.array([0, 0b1011, 2**64 - 1], np.uint64)
    assert hamming_distance(first, np.zeros(1, np.uint64)).tolist() == [0, 3, 64]
    assert hamming_distance(first[:, None], first[None]).shape == (3, 3)


def test_no_image_no_hash() -> None:
    assert perceptual_hashes([]).shape == (0,)


@pytest.mark.parametrize("picture", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)])
def test_other_pictures_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(UsageError, match="uint8"):
        perceptual_hashes([picture])


def test_an_unknown_hash_is_refused() -> None:
    with pytest.raises(UsageError, match="whash"):
        perceptual_hashes([], kind="whash")  # type: ignore[arg-type]
