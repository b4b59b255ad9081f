"""Canonical grid and stacks of slices, against closed forms and scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from covidct.errors import GeometryError
from covidct.io.geometry import canonical_axes, stack_slices, straighten, to_canonical

AXIAL = np.array([1.0, 0, 0, 0, 1, 0])


def signed_permutations() -> list[np.ndarray]:
    """All 48 matrices that exchange and flip axes, scaled by unlike spacings and turned a little."""
    turn = np.radians(7)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    result = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[list(order), range(3)] = signs
            affine = np.eye(4)
            affine[:3, :3] = rotation @ matrix @ np.diag([0.5, 0.75, 2.0])
            affine[:3, 3] = (10, -20, 30)
            result.append(affine)
    return result


@pytest.mark.parametrize("affine", signed_permutations())
def test_every_voxel_keeps_its_place(affine: np.ndarray) -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    canonical, grid = to_canonical(array, affine)
    assert canonical.flags.c_contiguous
    assert (np.diag(grid)[:3] > 0).all()
    assert np.argmax(np.abs(grid[:3, :3]), axis=0).tolist() == [0, 1, 2]
    for k, j, i in ((0, 0, 0), (3, 1, 5), (2, 4, 1)):
        d, h, w = np.argwhere(canonical == array[k, j, i])[0]
        assert grid @ (w, h, d, 1) == pytest.approx(affine @ (i, j, k, 1))
    axes = canonical_axes(affine)
    assert np.array_equal(axes.source(canonical), array)
    assert axes.shape(array.shape) == canonical.shape


def test_writing_through_the_source_view_fills_the_canonical_array() -> None:
    affine = signed_permutations()[13]
    array = np.arange(60).reshape(3, 4, 5)
    axes = canonical_axes(affine)
    target = np.zeros(axes.shape(array.shape), dtype=int)
    axes.source(target)[...] = array
    assert np.array_equal(target, to_canonical(array, affine)[0])


@pytest.mark.parametrize("column", [(0.0, 0, 0), (np.nan, 0, 0), (1.0, 0, 0)])
def test_degenerate_axes_are_refused(column: tuple[float, float, float]) -> None:
    affine = np.eye(4)
    affine[:3, 1] = column
    with pytest.raises(GeometryError):
        to_canonical(np.zeros((2, 2, 2)), affine)


def places(heights: list[float], lean: float = 0.0) -> np.ndarray:
    return np.array([[5.0, 7 + lean * z, z] for z in heights])


def test_stack_counts_missing_slices() -> None:
    stack = stack_slices(places([0, 6, 2, 12, 14]), AXIAL)
    assert stack.order.tolist() == [0, 2, 1, 3, 4]
    assert stack.step == 3  # median of 2, 4, 6, 2
    stack = stack_slices(places([0, 2, 4, 8, 10, 16, 18]), AXIAL)
    assert stack.multiples.tolist() == [1, 1, 2, 1, 3, 1]
    assert stack.pitch == pytest.approx(2)


def test_stack_measures_tilt_and_wander() -> None:
    stack = stack_slices(places([0, 2, 4, 6], lean=np.tan(np.radians(15))), AXIAL)
    assert stack.tilt == pytest.approx(15)
    assert stack.drift == pytest.approx(6 * np.tan(np.radians(15)))
    assert stack.wander == pytest.approx(0, abs=1e-9)
    at = places([0, 2, 4, 6])
    at[2, 0] += 1
    assert stack_slices(at, AXIAL).wander > 0.5


@pytest.mark.parametrize(("jitter", "even"), [(0.009, True), (0.011, False)])
def test_tolerance_is_a_hundredth_millimetre_for_thin_slices(jitter: float, even: bool) -> None:
    stack = stack_slices(places([0, 0.5, 1.0, 1.5, 2.0 + jitter]), AXIAL)
    assert bool((stack.multiples == 1).all()) is even


@pytest.mark.parametrize(("jitter", "even"), [(0.045, True), (0.06, False)])
def test_tolerance_is_one_percent_for_thick_slices(jitter: float, even: bool) -> None:
    stack = stack_slices(places([0, 5, 10, 15, 20 + jitter]), AXIAL)
    assert bool((stack.multiples == 1).all()) is even


def test_straighten_shifts_as_scipy_does() -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(-1000, 500, (4, 12, 14)).astype(np.float32)
    offsets = np.array([[0, 0], [0.3, -0.6], [1.25, -1.2], [2.0, -1.8]])
    heights = np.array([0.0, 2, 4, 6])
    result, low = straighten(array, heights, offsets, heights)
    assert low.tolist() == [0, -2]
    assert result.shape == (4, 14, 16)
    for k in range(4):
        padded = np.full((14, 16), -1024.0)
        padded[:12, :14] = array[k]
        shift = (offsets[k, 1] - low[1], offsets[k, 0] - low[0])
        wanted = ndimage.shift(padded, shift, order=1, mode="constant", cval=-1024)
        inner = (slice(3, -3), slice(3, -3))
        assert result[k][inner] == pytest.approx(wanted[inner], abs=1e-2)


def test_straighten_interpolates_heights_linearly() -> None:
    array = np.stack([np.full((3, 4), v, dtype=np.int16) for v in (0, 100, 400)])
    result, low = straighten(array, np.array([0.0, 1, 4]), np.zeros((3, 2)), np.arange(5.0))
    assert low.tolist() == [0, 0]
    assert result[:, 0, 0].tolist() == [0, 100, 200, 300, 400]
    assert result.dtype == np.int16
