"""Drawing slices: without replacement, in order, by the seed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.sample import check_sample
from covidct.transforms import draw_slices, to_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray


def volume(depth: int = 20) -> dict[str, NDArray[Any]]:
    """Each slice bears its number in every array."""
    number = np.arange(depth)
    stack = np.broadcast_to(number[None, :, None, None], (1, depth, 3, 3))
    return {
        "image": (stack * 1000).astype(np.uint16),
        "lung_mask": (stack % 3).astype(np.uint8),
        "lesion_mask": (stack % 2).astype(np.uint8),
        "slice_label": number.astype(np.int64),
        "slice_mask": (number > 2) & (number < depth - 3),
        "spacing": np.array([5.0, 0.7, 0.7], dtype=np.float32),
        "affine": np.eye(4),
    }


def numbers(drawn: dict[str, NDArray[Any]]) -> list[int]:
    """Which slices; all arrays agree about it."""
    found = drawn["slice_label"]
    assert np.array_equal(drawn["image"][0, :, 1, 1], found * 1000)
    assert np.array_equal(drawn["lung_mask"][0, :, 0, 2], found % 3)
    assert np.array_equal(drawn["lesion_mask"][0, :, 2, 0], found % 2)
    assert drawn["slice_mask"].all()
    return [int(number) for number in found]


def test_sorted_without_replacement_and_real() -> None:
    for seed in range(50):
        found = numbers(draw_slices(volume(), 6, seed=(0, 1, seed, 0)))
        assert found == sorted(set(found))
        assert len(found) == 6
        assert set(found) <= set(range(3, 17))


def test_every_slice_is_drawn_equally_often() -> None:
    counts = np.zeros(20)
    for seed in range(2000):
        counts[numbers(draw_slices(volume(), 7, seed=seed))] += 1
    assert not counts[:3].any()
    assert not counts[17:].any()
    assert abs(counts[3:17] / 2000 - 0.5).max() < 0.06  # 5 standard deviations of a share of 1/2


def test_depends_on_the_seed_alone() -> None:
    assert numbers(draw_slices(volume(), 5, seed=(7, 2, 3, 0))) == numbers(draw_slices(volume(), 5, seed=(7, 2, 3, 0)))
    seeds = [(7, 2, 3, 0), (7, 3, 3, 0), (7, 2, 4, 0), (7, 2, 3, 1), (8, 2, 3, 0)]
    assert len({tuple(numbers(draw_slices(volume(), 5, seed=seed))) for seed in seeds}) == len(seeds)


def test_few_slices_are_all_kept() -> None:
    assert numbers(draw_slices(volume(), 50, seed=0)) == list(range(3, 17))


def test_result_is_a_sample_of_the_contract() -> None:
    drawn = draw_slices(volume(), 5, seed=0)
    assert "affine" not in drawn
    assert np.isnan(drawn["spacing"][0])
    assert np.allclose(drawn["spacing"][1:], 0.7)
    import torch

    check_sample(to_sample(drawn, id="x", subject=torch.tensor(0), scan=torch.tensor(0)), "ct_volume")
