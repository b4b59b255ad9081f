"""Streaming moments against numpy on everything at once."""

from __future__ import annotations

import numpy as np
import pytest

from covidct.functional.moments import add_values


@pytest.mark.parametrize("sizes", [[1] * 40, [40], [1, 16, 23], [0, 30, 0, 10]])
@pytest.mark.parametrize("shape", [(), (3, 2)])
def test_blocks_give_numpys_mean_and_deviation(sizes: list[int], shape: tuple[int, ...]) -> None:
    values = 1000 + np.random.default_rng(len(sizes)).normal(0, 1e-3, (40, *shape))  # squares would lose all digits
    moments, start = None, 0
    for size in sizes:
        moments = add_values(moments, values[start : start + size])
        start += size
    assert moments is not None
    assert moments.count == 40
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.std, values.std(0), rtol=1e-9)


def test_without_values_the_deviation_is_not_a_number() -> None:
    empty = add_values(None, np.zeros((0, 2)))
    assert empty.count == 0
    assert np.isnan(empty.std).all()


def test_what_came_before_is_not_changed() -> None:
    first = add_values(None, np.array([[1.0], [3.0]]))
    add_values(first, np.array([[9.0]]))
    assert (first.count, first.mean.item(), first.squares.item()) == (2, 2.0, 2.0)
