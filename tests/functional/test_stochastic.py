from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from covidct.errors import UsageError
from covidct.functional import gradient_strength, stochastic_enhance, walk_kernels
from covidct.functional import stochastic as module

WORD = 2**32
IMAGE = np.random.default_rng(3).random((9, 11), dtype=np.float32)
SMALL: dict[str, Any] = {"walks": 6, "steps": 13, "rounds": 3, "samples": 8, "radius": 4}


def mix(x: int) -> int:
    """The hash on Python's unbounded integers, cut to 32 bits."""
    x = ((x ^ x >> 16) * 0x7FEB352D) % WORD
    x = ((x ^ x >> 15) * 0x846CA68B) % WORD
    return x ^ x >> 16


def mirrored(index: int, count: int) -> int:
    """Index after reflection at the first and the last pixel."""
    index = abs(index) % (2 * (count - 1))
    return min(index, 2 * (count - 1) - index)


def walk_of(row: int, column: int, width: int, walk: int, steps: int, seed: int) -> list[tuple[int, int]]:
    """Places of one walk, free of borders."""
    neighbours = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    state = mix((mix(seed ^ mix(row * width + column)) + walk * 0x9E3779B9) % WORD)
    places = [(row, column)]
    for step in range(steps):
        bits = mix((state + step // 10) % WORD) >> 3 * (step % 10)
        down, across = neighbours[bits & 7]
        places.append((places[-1][0] + down, places[-1][1] + across))
    return places


def base_by_hand(image: np.ndarray, *, walks: int, steps: int, seed: int, literal: bool) -> np.ndarray:
    """Equations 2 to 4, pixel by pixel, walk by walk."""
    height, width = image.shape
    strength = gradient_strength(image)
    out = np.empty(image.shape)
    for row in range(height):
        for column in range(width):
            weights = values = 0.0
            for walk in range(walks + literal):
                places = [
                    (mirrored(r, height), mirrored(c, width)) for r, c in walk_of(row, column, width, walk, steps, seed)
                ]
                x = np.array([image[place] for place in places], dtype=np.float64)
                s = np.array([strength[place] for place in places], dtype=np.float64)
                if literal:
                    away, variation, value = np.abs(x - x[0]).sum(), np.abs(s - s[0]).sum(), x[0]
                else:
                    away, variation, value = np.abs(x - x[0]).mean(), np.abs(np.diff(s)).sum(), x.mean()
                weight = math.exp(-away / 0.5 - variation / 0.3)
                weights += weight
                values += weight * value
            out[row, column] = values / weights
    return out


def layers(image: np.ndarray, *, torch_path: bool = False, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    """Base layer and place between the envelopes."""
    options: dict[str, Any] = {
        "seed": 5,
        "literal": False,
        "shared": False,
        "rates": (1 / (0.5 * 14), 1 / 0.3),
        **SMALL,
        **changes,
    }
    draw = module._Draw(**options)
    if torch_path:
        return module._by_torch(image, draw, torch.device("cpu"))
    return module._by_numba(image, draw)


def test_base_layer_is_that_of_the_equations() -> None:
    expected = base_by_hand(IMAGE, walks=6, steps=13, seed=5, literal=False)
    np.testing.assert_allclose(layers(IMAGE)[0], expected, rtol=1e-5)


def test_literal_equations_give_the_image_itself() -> None:
    expected = base_by_hand(IMAGE, walks=3, steps=6, seed=5, literal=True)
    np.testing.assert_allclose(expected, IMAGE, rtol=1e-12)
    rates = (1 / 0.5, 1 / 0.3)
    base = layers(IMAGE, torch_path=True, walks=4, steps=6, literal=True, rates=rates)[0]
    np.testing.assert_allclose(base, IMAGE, rtol=1e-6)
    options = SMALL | {"walks": 3, "steps": 6}
    out = stochastic_enhance(IMAGE, seed=5, reading="literal", mixing=0.0, **options)
    np.testing.assert_allclose(out, IMAGE, rtol=1e-6)
    assert np.abs(stochastic_enhance(IMAGE, seed=5, mixing=0.0, gain=0.0, **options) - IMAGE).mean() > 0.05


def test_literal_variation_telescopes() -> None:
    """The sum of signed differences of equation 3 is the difference of the ends."""
    strength = gradient_strength(IMAGE)
    places = [(mirrored(r, 9), mirrored(c, 11)) for r, c in walk_of(4, 4, 11, 0, 13, 5)]
    s = np.array([strength[place] for place in places], dtype=np.float64)
    np.testing.assert_allclose(np.cumsum(np.diff(s)), s[1:] - s[0], atol=1e-12)


def test_places_between_the_envelopes() -> None:
    disc = module._disc(4, 1 << 20)  # so wide that rows and columns can be told apart
    down = np.rint(disc / (1 << 20)).astype(int)
    across = disc - down * (1 << 20)
    assert np.hypot(down, across).max() <= 4 + math.sqrt(0.5)
    expected = np.empty(IMAGE.shape)
    for row in range(9):
        for column in range(11):
            key, places = mix(5 ^ 0x5BD1E995 ^ mix(row * 11 + column)), []
            for number in range(3):
                seen = [IMAGE[row, column]]
                for sample in range(8):  # three of a hash, so three hashes a round
                    bits = mix((key + (number * 3 + sample // 3) * 0x9E3779B9) % WORD)
                    for index in (bits >> 10 * (sample % 3) & 1023,):
                        seen.append(IMAGE[mirrored(row + down[index], 9), mirrored(column + across[index], 11)])
                places.append((seen[0] - min(seen)) / (max(seen) - min(seen)) if max(seen) > min(seen) else 0.5)
            expected[row, column] = np.mean(places)
    np.testing.assert_allclose(layers(IMAGE)[1], expected, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"shared": True}, {"steps": 20}, {"steps": 3}, {"samples": 9}, {"samples": 1}])
def test_torch_draws_the_same_walks(changes: dict[str, Any]) -> None:
    for one, other in zip(layers(IMAGE, **changes), layers(IMAGE, torch_path=True, **changes), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_gives_the_same_image() -> None:
    image = torch.from_numpy(IMAGE)
    there = stochastic_enhance(image.cuda(), **SMALL)
    torch.testing.assert_close(there.cpu(), stochastic_enhance(image, **SMALL), atol=1e-5, rtol=0)


def test_torch_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from covidct.functional import walk_tensors

    whole = layers(IMAGE, torch_path=True)
    monkeypatch.setattr(walk_tensors, "_CHUNK", 2 * IMAGE.size)
    for one, other in zip(whole, layers(IMAGE, torch_path=True), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"torch_path": True}, {"shared": True}])
def test_pixels_whose_weights_are_all_too_small_stay(changes: dict[str, Any]) -> None:
    base, _ = layers(IMAGE, rates=(1e6, 1e6), **changes)
    np.testing.assert_array_equal(base, IMAGE)


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 7, -1])
def test_constant_image_stays(seed: int) -> None:
    flat = np.full((12, 10), 0.3, dtype=np.float32)
    np.testing.assert_allclose(stochastic_enhance(flat, seed=seed, **SMALL), flat, atol=1e-6)


def test_seed_decides_alone() -> None:
    first = stochastic_enhance(IMAGE, seed=1, **SMALL)
    np.testing.assert_array_equal(first, stochastic_enhance(IMAGE, seed=1, **SMALL))
    np.testing.assert_array_equal(first, stochastic_enhance(IMAGE, seed=1 + 2**32, **SMALL))
    assert np.abs(first - stochastic_enhance(IMAGE, seed=2, **SMALL)).max() > 1e-3


def test_kinds_and_stacks_are_alike() -> None:
    stack = np.stack([IMAGE, IMAGE[::-1]])
    both = stochastic_enhance(stack, **SMALL)
    np.testing.assert_array_equal(both[0], stochastic_enhance(IMAGE, **SMALL))
    tensor = stochastic_enhance(torch.from_numpy(stack), **SMALL)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), both)


@pytest.mark.parametrize("shared", [False, True])
def test_noise_falls_with_the_number_of_walks(shared: bool) -> None:
    def variance(walks: int) -> float:
        seeds = [layers(IMAGE, walks=walks, seed=seed, shared=shared)[0] for seed in range(24)]
        return float(np.var(seeds, axis=0, ddof=1).mean())

    assert variance(4) / variance(64) == pytest.approx(16, rel=0.35)


def test_shared_walks_have_correlated_noise() -> None:
    """Why they are not the default: the same walk from neighbouring pixels sees the same neighbours."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((24, 24)), 2).astype(np.float32)

    def correlation(shared: bool) -> float:
        runs = np.stack([layers(smooth, seed=seed, shared=shared)[0] for seed in range(16)])
        noise = runs - runs.mean(axis=0)
        return float(np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1])

    assert correlation(True) > 0.5
    assert abs(correlation(False)) < 0.1


def test_edge_stays_and_noise_goes() -> None:
    rng = np.random.default_rng(1)
    image = (np.where(np.arange(32) < 16, 0.2, 0.8) + 0.03 * rng.standard_normal((24, 32))).astype(np.float32)
    base = layers(image, walks=60, steps=20, rates=(1 / (0.5 * 21), 1 / 0.3))[0]
    for side in (slice(0, 14), slice(18, 32)):
        assert base[:, side].var() < 0.6 * image[:, side].var()
    profile = base.mean(axis=0)
    crossing = np.interp(0.5, profile[12:20], np.arange(12, 20))
    assert abs(crossing - 15.5) < 1.0


def test_an_installation_without_any_folder_to_write_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    spec = importlib.util.spec_from_file_location("uncached", walk_kernels.__file__)
    assert spec is not None
    assert spec.loader is not None
    uncached = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(uncached)
    assert uncached._mix(np.uint32(7)) == mix(7)


def test_steps_go_everywhere_alike() -> None:
    counts = np.zeros(8)
    for pixel in range(400):
        state = mix(mix(7 ^ mix(pixel)))
        for block in range(2):
            bits = mix((state + block) % WORD)
            counts += np.bincount([bits >> 3 * k & 7 for k in range(10)], minlength=8)
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_squared < 24.3  # 0.999 quantile of 7 degrees of freedom


def test_gradient_strength_is_that_of_the_structure_tensor() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(2).random((20, 24)), 1.5).astype(np.float32)
    across = ndimage.sobel(image.astype(np.float64), axis=1, mode="mirror") / 8
    down = ndimage.sobel(image.astype(np.float64), axis=0, mode="mirror") / 8
    products = (across * across, down * down, across * down)
    xx, yy, xy = (ndimage.gaussian_filter(p, 1.0, mode="mirror", truncate=4.0) for p in products)
    tensors = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)
    low, high = np.moveaxis(np.linalg.eigvalsh(tensors), -1, 0)
    np.testing.assert_allclose(gradient_strength(image), np.sqrt(high - low), rtol=0.02, atol=1e-4)


@pytest.mark.parametrize(
    ("image", "options", "says"),
    [
        (np.zeros(4, np.float32), {}, "shape"),
        (np.zeros((1, 9), np.float32), {}, "2 pixels a side"),
        (IMAGE * 255, {}, "scale it to"),
        (IMAGE - 1, {}, "scale it to"),
        (np.where(IMAGE > 0.9, np.float32(np.nan), IMAGE), {}, "from nan"),
        (IMAGE, {"walks": 0}, "walks=0"),
        (IMAGE, {"steps": 2.5}, "steps=2.5"),
        (IMAGE, {"samples": True}, "samples=True"),
        (IMAGE, {"sigma_gradient": 0.0}, "positive"),
        (IMAGE, {"reading": "best"}, "'mended' or 'literal'"),
    ],
)
def test_bad_arguments(image: np.ndarray, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        stochastic_enhance(image, **{**SMALL, **options})
