"""Colours, enlargement and the way back to the original grid."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

from covidct.errors import InputError, UsageError
from covidct.explain import heat_colours, maps_on_grid, overlay
from covidct.explain.overlay import upsample
from covidct.functional import isotropic_cube
from covidct.volume import Volume, unknown_affine


def test_colours_are_those_of_the_jet_map() -> None:
    steps = np.arange(32, 224, dtype=np.uint8)  # from pure blue to pure red
    theirs = cv2.applyColorMap(steps[:, None], cv2.COLORMAP_JET)[:, 0, ::-1]
    np.testing.assert_allclose(255 * heat_colours(np.linspace(0, 1, len(steps))), theirs, atol=3)


def test_red_is_the_most_then_green_then_blue() -> None:
    blue, green, red = heat_colours(np.array([0.1, 0.5, 0.9])).argmax(-1)
    assert (red, green, blue) == (0, 1, 2)
    np.testing.assert_array_equal(heat_colours(np.array([np.nan, -3.0, 7.0])), heat_colours(np.array([0.0, 0.0, 1.0])))


def test_cold_places_stay_grey_and_hot_ones_turn_red() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(image, np.zeros((7, 7)), 1.0), np.repeat(image[..., None], 3, -1))
    heat = np.zeros((7, 7))
    heat[3, 3] = 0.8
    found = overlay(np.full((28, 28), 128, np.uint8), heat, 1.0)
    colour = np.ptp(found.astype(int), -1)
    assert np.unravel_index(colour.argmax(), colour.shape)[0] in range(12, 16)
    assert not colour[:8].any()  # two cells away
    hottest = overlay(np.full((4, 4), 100, np.uint8), np.ones((2, 2)), 1.0, opacity=0.6)
    np.testing.assert_array_equal(hottest[0, 0], np.rint([0.4 * 100 + 0.6 * 255, 40, 40]))
    np.testing.assert_array_equal(overlay(image, np.full((7, 7), np.nan), 1.0), np.repeat(image[..., None], 3, -1))


def test_the_scale_is_the_callers_and_never_the_pictures() -> None:
    image, heat = np.full((8, 8), 0.5, np.float32), np.full((2, 2), 0.3)
    strong, weak = (np.ptp(overlay(image, heat, scale).astype(int), -1).max() for scale in (0.3, 30.0))
    assert strong > 100
    assert weak <= 2
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match=r"explain\.calibrate"):
            overlay(image, heat, scale)


def test_cells_are_areas() -> None:
    cells = np.arange(12, dtype=np.float32).reshape(3, 4)
    centres = np.meshgrid((np.arange(30) + 0.5) * 3 / 30 - 0.5, (np.arange(20) + 0.5) * 4 / 20 - 0.5, indexing="ij")
    expected = ndimage.map_coordinates(cells, centres, order=1, mode="nearest")
    np.testing.assert_allclose(upsample(cells, (30, 20)), expected, atol=1e-4)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(UsageError, match="needs a slice"):
        overlay(np.zeros((3, 4, 4)), np.zeros((2, 2)), 1.0)
    with pytest.raises(UsageError, match="opacity"):
        overlay(np.zeros((4, 4)), np.zeros((2, 2)), 1.0, opacity=2)


def scan(shape: tuple[int, int, int] = (20, 40, 48)) -> Volume:
    """Slices of 5 mm, pixels of 2 mm, the origin anywhere."""
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[:3, 3] = (-30, 12, 200)
    return Volume(np.zeros(shape, np.int16), affine)


def test_maps_lie_where_the_cube_was_cut() -> None:
    """A linear function of the place in mm, sampled at the centres of the cells, comes back at every voxel inside."""
    volume = scan()
    cube = isotropic_cube(volume, 32)
    rng = np.random.default_rng(0)
    slope, start = rng.normal(size=3), rng.normal()

    def field(affine: np.ndarray, w: np.ndarray, h: np.ndarray, d: np.ndarray) -> np.ndarray:
        points = np.stack([w, h, d], -1) @ affine[:3, :3].T + affine[:3, 3]
        return np.asarray(points @ slope + start)

    d, h, w = np.meshgrid(np.arange(32), (np.arange(8) + 0.5) * 4 - 0.5, (np.arange(8) + 0.5) * 4 - 0.5, indexing="ij")
    maps = field(cube.affine, w, h, d).astype(np.float32)
    found = maps_on_grid(maps, size=(32, 32), affine=cube.affine, volume=volume, slices=[4, 10])
    d, h, w = np.meshgrid([4, 10], np.arange(40), np.arange(48), indexing="ij")
    expected = field(volume.affine, w, h, d)
    assert found.shape == (2, 40, 48)
    np.testing.assert_allclose(found[:, 8:-8, 8:-8], expected[:, 8:-8, 8:-8], rtol=1e-4, atol=1e-2)


def test_all_slices_unless_told() -> None:
    volume = scan((4, 8, 8))
    maps = np.random.default_rng(0).random((16, 2, 2)).astype(np.float32)
    cube = isotropic_cube(volume, 16)
    whole = maps_on_grid(maps, size=(16, 16), affine=cube.affine, volume=volume)
    assert whole.shape == volume.shape
    np.testing.assert_array_equal(
        whole[2:3], maps_on_grid(maps, size=(16, 16), affine=cube.affine, volume=volume, slices=[2])
    )


def test_wrong_slices_and_unknown_geometry() -> None:
    volume = scan((4, 8, 8))
    with pytest.raises(UsageError, match="slices from 0 to 3"):
        maps_on_grid(np.zeros((4, 2, 2)), size=(8, 8), affine=volume.affine, volume=volume, slices=[4])
    flat = Volume(np.zeros((2, 4, 4), np.float32), unknown_affine(), intensity="unit")
    with pytest.raises(InputError, match="spacing"):
        maps_on_grid(np.zeros((2, 2, 2)), size=(4, 4), affine=flat.affine, volume=flat)
