"""Maps of a network on the slices of the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.functional import isotropic_cube
from covidct.inference.network_maps import NetworkMaps, maps_of_slices, maps_on_scan, places_on_scan
from covidct.volume import Volume, unknown_affine

if TYPE_CHECKING:
    from numpy.typing import NDArray


def affine(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> NDArray[np.float64]:
    """Voxel (w, h, d) to mm, of a spacing and an origin along (d, h, w)."""
    found = np.diag([*spacing[::-1], 1.0])
    found[:3, 3] = origin[::-1]
    return found


def test_a_cube_around_the_scan_is_brought_to_its_slices() -> None:
    volume = Volume(np.zeros((10, 40, 50), np.int16), affine((4.0, 1.0, 1.0), (100.0, 0.0, 0.0)))
    # 20 slices of 3 mm from 91 mm on, 30 x 30 pixels of 2 mm whose outer edges lie at -10.5 and 49.5 mm
    seen = NetworkMaps(affine((3.0, 2.0, 2.0), (91.0, -9.5, -9.5)), (20, 30, 30))
    maps = np.repeat(np.arange(20, dtype=np.float32)[:, None, None] / 20, 5, 1).repeat(5, 2)
    found = maps_on_scan(maps, seen, volume)
    assert found.values.shape == (10, 5, 5)
    assert found.known.all()
    # slice k lies at 100 + 4 k mm, which is place (9 + 4 k) / 3 of the cube
    np.testing.assert_allclose(found.values[:, 2, 2], 255 * (9 + 4 * np.arange(10)) / 3 / 20, atol=0.51)
    # the scan's outer edges lie at -0.5 and 39.5 mm (rows), 49.5 mm (columns)
    np.testing.assert_allclose(found.box, [-10 / 50, -10 / 40, 50 / 50, 50 / 40])
    assert places_on_scan(seen, volume)[3:7] == (0, 1, 2, 2)  # 100, 103, 106, 109 mm
    assert places_on_scan(seen, volume)[0] == 0  # beyond the scan: its last slice on that side


def test_slices_that_the_network_did_not_see_have_no_map() -> None:
    volume = Volume(np.zeros((9, 8, 8), np.int16), affine((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    seen = NetworkMaps(affine((1.0, 1.0, 1.0), (3.0, 0.0, 0.0)), (4, 8, 8))
    found = maps_on_scan(np.ones((4, 2, 2), np.float32), seen, volume)
    assert found.known.tolist() == [False] * 3 + [True] * 4 + [False] * 2
    np.testing.assert_allclose(found.box, [0, 0, 1, 1])


def test_the_grid_of_a_prepared_scan_is_understood() -> None:
    hu = np.zeros((12, 24, 30), np.int16)
    hu[8, 6, 21] = 1000
    volume = Volume(hu, affine((5.0, 2.0, 2.0), (-7.0, 3.0, 11.0)))
    cube = isotropic_cube(volume, 16, pad_hu=0)
    seen = NetworkMaps(cube.affine, cube.shape)
    maps = cube.array.astype(np.float32) / max(float(cube.array.max()), 1.0)
    found = maps_on_scan(maps, seen, volume)
    depth, row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    left, top, right, bottom = found.box
    assert abs(int(depth) - 8) <= 1
    assert (top + (row + 0.5) / 16 * (bottom - top)) * 24 == pytest.approx(6.5, abs=2.5)
    assert (left + (column + 0.5) / 16 * (right - left)) * 30 == pytest.approx(21.5, abs=2.5)


def test_without_geometry_every_slice_was_seen_whole() -> None:
    volume = Volume(np.zeros((6, 8, 8), np.float32), unknown_affine(), intensity="unit")
    seen = NetworkMaps(unknown_affine(), (6, 4, 4))
    maps = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32) / 5
    found = maps_on_scan(maps, seen, volume)
    np.testing.assert_array_equal(found.values[:, 0, 0], [0, 51, 102, 153, 204, 255])
    np.testing.assert_allclose(found.box, [0, 0, 1, 1])
    assert places_on_scan(seen, volume) == (0, 1, 2, 3, 4, 5)


def test_maps_of_some_slices_lie_at_their_slices() -> None:
    maps = np.array([[[0.0, 2.0]], [[np.nan, 0.5]]], np.float32)
    found = maps_of_slices(maps, (1, 4), 6)
    assert found.known.tolist() == [False, True, False, False, True, False]
    np.testing.assert_array_equal(found.values[[1, 4]], [[[0, 255]], [[0, 128]]])


def test_fine_maps_are_thinned() -> None:
    found = maps_of_slices(np.full((2, 128, 64), 0.5, np.float32), (0, 1), 2)
    assert found.values.shape == (2, 32, 32)
    assert set(found.values.ravel().tolist()) == {128}
