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


def test_too_many_pairs_are_an_error_not_a_full_memory() -> None:
    with pytest.raises(UsageError, match="more than 100 pairs"):
        near_duplicates(np.zeros(100, np.uint64), most=100)


@pytest.mark.parametrize("limit", [-1, 65])
def test_a_distance_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="64 bits"):
        near_duplicates(hashes(4), max_distance=limit)


def test_other_hashes_are_refused() -> None:
    with pytest.raises(UsageError, match="uint64"):
        near_duplicates(np.zeros(4, np.int64))
