"""The search for near duplicates finds what two loops find, no pair twice, and keeps its memory bounded."""

from __future__ import annotations

from importlib import import_module
from itertools import combinations

import numpy as np
import pytest

from covidct.curation import near_duplicates
from covidct.curation.near_duplicates import similar_pairs
from covidct.errors import UsageError


def hashes(count: int, seed: int = 0) -> np.ndarray:
    """Random hashes, a third of them copies with few bits flipped."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**64, count, dtype=np.uint64, endpoint=False)
    for index in range(0, count - 1, 3):
        values[index + 1] = values[rng.integers(0, count)] ^ np.uint64(2 ** int(rng.integers(0, 64)))
    return values


@pytest.mark.parametrize("limit", [0, 1, 3, 24])
@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_all_pairs_as_two_loops_find_them(count: int, limit: int) -> None:
    values = hashes(count)
    expected = {
        (i, j): bits
        for (i, a), (j, b) in combinations(enumerate(values.tolist()), 2)
        if (bits := (a ^ b).bit_count()) <= limit
    }
    pairs, distances = near_duplicates(values, max_distance=limit)
    assert dict(zip(map(tuple, pairs.tolist()), distances.tolist(), strict=True)) == expected
    assert len(pairs) == len(expected)
    assert pairs.shape == (len(expected), 2)


def test_blocks_and_tiles_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("covidct.curation.near_duplicates")  # the function has the same name
    values = hashes(500, seed=1)
    whole = near_duplicates(values, max_distance=20)
    monkeypatch.setattr(module, "_ROWS", 7)
    monkeypatch.setattr(module, "_ROOM", 3)
    pairs, distances = near_duplicates(values, max_distance=20)
    assert np.array_equal(pairs, whole[0])
    assert np.array_equal(distances, whole[1])
    assert pairs.tolist() == sorted(pairs.tolist())


def test_similar_vectors_as_two_loops_find_them() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(60, 5)).astype(np.float32)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    one[7] = 0
    other = one[::-1].copy()
    expected = {
        (min(i, j), max(i, j)) for i in range(60) for j in range(60) if i != j and float(one[i] @ other[j]) >= 0.8
    }
    assert set(map(tuple, similar_pairs(one, other, least=0.8).tolist())) == expected
    assert similar_pairs(one[:0], other[:0], least=0.8).shape == (0, 2)


def unit(count: int, length: int, seed: int) -> np.ndarray:
    """Vectors with a spectrum that falls off, half of them near copies of others, one of them 0."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, length)) / np.arange(1, length + 1) ** 0.5
    vectors[::2] = vectors[rng.integers(0, count, len(vectors[::2]))] + 0.02 * rng.normal(
        size=(len(vectors[::2]), length)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[count // 2] = 0
    return vectors.astype(np.float32)


@pytest.mark.parametrize("dense", [0.0, 1.0])  # all tiles are computed in full, or none is
@pytest.mark.parametrize("least", [0.5, 0.9])
def test_few_numbers_decide_as_all_do(dense: float, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("covidct.curation.near_duplicates")
    for name, value in (("_DENSE", dense), ("_TILE_ROWS", 7), ("_TILE", 11)):
        monkeypatch.setattr(module, name, value)
    one, other = unit(120, 100, 0), unit(120, 100, 1)
    other[:40] = one[40:80]
    whole = one.astype(np.float64)
    same, crossed = (whole @ second.astype(np.float64).T for second in (one, other))
    for products, second in ((same, one), (crossed, other)):
        assert not (abs(products - least) < 1e-6).any()  # no pair hangs on rounding
        expected = {(min(i, j), max(i, j)) for i, j in np.argwhere(products >= least).tolist() if i != j}
        assert expected
        found = similar_pairs(one, second, least=least)
        assert found.tolist() == sorted(map(list, expected))


def test_two_of_one_group_are_no_pair() -> None:
    values = np.array([5, 5, 5, 4, 4], np.uint64)
    groups = np.array([0, 0, 1, -1, -1])
    pairs = near_duplicates(values, max_distance=0, groups=groups)[0]
    assert pairs.tolist() == [[0, 2], [1, 2], [3, 4]]
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 1]]
    for second in (vectors, vectors.copy()):
        assert similar_pairs(vectors, second, least=0.9, groups=groups).tolist() == [[0, 2], [1, 2], [3, 4]]
    with pytest.raises(UsageError, match="one per hash"):
        near_duplicates(values, groups=groups[1:])


def test_too_many_pairs_are_an_error_not_a_full_memory() -> None:
    with pytest.raises(UsageError, match="more than 100 pairs"):
        near_duplicates(np.zeros(100, np.uint64), most=100)
    with pytest.raises(UsageError, match="more than 100 pairs"):
        similar_pairs(*[np.ones((100, 1), np.float32)] * 2, least=0.9, most=100)


@pytest.mark.parametrize("limit", [-1, 65])
def test_a_distance_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="64 bits"):
        near_duplicates(hashes(4), max_distance=limit)


def test_other_hashes_are_refused() -> None:
    with pytest.raises(UsageError, match="uint64"):
        near_duplicates(np.zeros(4, np.int64))
