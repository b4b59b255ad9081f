from __future__ import annotations

import numpy as np
import pytest

from covidct.errors import GeometryError
from covidct.io.affine import check_affine, corners, orthonormalised, rectified, settle_grid, shear, spacing_of
from covidct.io.geometry import to_canonical

from .files import affine, rotation, scan

HU, _ = scan()


def test_shear_and_spacing() -> None:
    grid = rotation(30) @ affine()
    np.testing.assert_allclose(spacing_of(grid), (0.7, 0.8, 2.5))
    assert shear(grid) == pytest.approx(0, abs=1e-12)
    grid = affine()
    grid[1, 2] = 2.5 * np.tan(np.radians(15))
    assert shear(grid) == pytest.approx(np.sin(np.radians(15)))


def test_corners_are_half_a_voxel_outside() -> None:
    points = corners(np.diag([1.0, 2.0, 3.0, 1.0]), (4, 5, 6))
    assert points.shape == (8, 3)
    np.testing.assert_allclose(points.min(axis=0), (-0.5, -1.0, -1.5))
    np.testing.assert_allclose(points.max(axis=0), (5.5, 9.0, 10.5))


def test_orthonormalised_is_the_nearest_right_angled_grid() -> None:
    rng = np.random.default_rng(0)
    grid = rotation(40) @ affine()
    bent = grid.copy()
    bent[:3, :3] *= 1 + rng.normal(0, 1e-4, (3, 3))
    straight = orthonormalised(bent, HU.shape)
    assert shear(straight) < 1e-12
    np.testing.assert_allclose(spacing_of(straight), spacing_of(bent))
    np.testing.assert_allclose(straight, bent, atol=0.02)
    np.testing.assert_allclose(orthonormalised(grid, HU.shape), grid, atol=1e-9)


def test_rectified_keeps_slices_and_fills_with_air() -> None:
    grid = affine((2.0, 1.0, 1.0))
    grid[1, 2] = 1.0  # each slice one row further: whole voxels, so nothing is interpolated
    values, straight = rectified(HU, grid, fill=-1024)
    assert values.shape == (9, 11 + 8, 13)
    np.testing.assert_allclose(straight, affine((2.0, 1.0, 1.0)))
    for k in range(9):
        np.testing.assert_array_equal(values[k, k : k + 11], HU[k])
        assert (np.delete(values[k], slice(k, k + 11), axis=0) == -1024).all()


def test_absurd_grids_are_refused() -> None:
    grid = affine()
    grid[1, 2] = 60.0
    with pytest.raises(GeometryError, match="shifted"):
        rectified(HU, grid, fill=-1024)
    for broken in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1.0, 1.0, 0.0, 1.0])):
        with pytest.raises(GeometryError):
            check_affine(broken, on_fault="warn")
    flat = affine()
    flat[:3, 2] = flat[:3, 1]
    with pytest.raises(GeometryError, match="plane"):
        check_affine(flat, on_fault="warn")
    assert check_affine(affine(), on_fault="error") == ()


@pytest.mark.parametrize("signs", [(a, b, c) for a in (1, -1) for b in (1, -1) for c in (1, -1)])
@pytest.mark.parametrize("depth", [8, 9])
def test_flips_in_place_equal_flips_by_copy(signs: tuple[int, int, int], depth: int) -> None:
    grid = affine() @ np.diag([*signs, 1.0])
    expected, expected_affine = to_canonical(HU[:depth].copy(), grid)
    stored = HU[:depth].copy()
    settled = settle_grid(stored, grid, on_fault="error")
    np.testing.assert_array_equal(settled.array, expected)
    np.testing.assert_allclose(settled.affine, expected_affine)
    assert settled.array is stored
    fixed = HU[:depth].copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(settle_grid(fixed, grid, on_fault="error").array, expected)
