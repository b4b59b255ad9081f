"""What of the lungs is near their surface, against brute force and scipy's distances."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import cdist

from covidct.functional.lung_periphery import PERIPHERAL_MM, near_surface

SPACINGS = [(3.1, 2.3, 2.3), (7.3, 2.9, 2.1), (1.7, 2.2, 2.6)]


def blobs(seed: int, shape: tuple[int, int, int] = (22, 40, 44)) -> NDArray[np.uint8]:
    """Two lungs without holes that touch each other and, at the top, the edge of the volume."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]]
    mask = np.zeros(shape, np.uint8)
    for value, centre in ((1, 12), (2, 31)):
        radius = rng.uniform((14, 15, 9), (17, 19, 12))
        inside = ((z - 16) / radius[0]) ** 2 + ((y - 20) / radius[1]) ** 2 + ((x - centre) / radius[2]) ** 2 < 1
        mask[inside & (mask == 0)] = value
    return mask


@pytest.mark.parametrize("spacing", [(7.1, 4.3, 4.3), (9.3, 6.9, 5.1), (5.7, 4.2, 4.6)])
def test_brute_force(spacing: tuple[float, float, float]) -> None:
    mask = blobs(0)[4:, 4:36]
    near = near_surface(mask, spacing)
    for value in (1, 2):
        inside, outside = (np.argwhere(part) * spacing for part in (mask == value, mask != value))
        expected = cdist(inside, outside).min(1) <= PERIPHERAL_MM
        np.testing.assert_array_equal(near[mask == value], expected)
        assert 0 < expected.mean() < 1
    assert not near[mask == 0].any()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_scipy(spacing: tuple[float, float, float], seed: int) -> None:
    mask = blobs(seed)
    away = np.maximum(*(distance_transform_edt(mask == value, sampling=spacing) for value in (1, 2)))
    np.testing.assert_array_equal(near_surface(mask, spacing), (mask > 0) & (away <= PERIPHERAL_MM))


def test_exactly_so_far_is_near() -> None:
    for steps in ((0.1, 0.1, 0.1), (0.8, 0.8, 0.8), (2.5, 2.5, 2.5)):
        count = round(PERIPHERAL_MM / steps[0])
        for axis in range(3):
            mask = np.ones(tuple(count + 5 if axis == each else 1 for each in range(3)), np.uint8)
            mask[(0,) * 3] = 0
            assert near_surface(mask, steps).sum() == count


def test_a_vessel_is_no_surface_but_a_dome_of_the_diaphragm_is() -> None:
    mask = np.ones((5, 120, 120), np.uint8)
    mask[:, 58:63, 58:63] = 0  # 25 mm2
    assert not near_surface(mask, (1.0, 1.0, 1.0)).any()
    mask[:, 50:70, 50:70] = 0  # 400 mm2
    expected = distance_transform_edt(mask) <= PERIPHERAL_MM
    np.testing.assert_array_equal(near_surface(mask, (1.0, 1.0, 1.0)), expected & (mask > 0))


def test_edges_of_the_volume_are_no_surface() -> None:
    assert not near_surface(np.ones((3, 4, 5), np.uint8), (1.0, 1.0, 1.0)).any()
    assert not near_surface(np.zeros((3, 4, 5), np.uint8), (1.0, 1.0, 1.0)).any()


def test_the_distance_across_has_no_effect_on_a_single_slice() -> None:
    mask = blobs(1)[12:13]
    thin, thick = (near_surface(mask, (step, 1.9, 1.9)) for step in (1e-4, 50.0))
    np.testing.assert_array_equal(thin, thick)
    away = np.maximum(*(distance_transform_edt(mask[0] == value, sampling=1.9) for value in (1, 2)))
    np.testing.assert_array_equal(thin[0], (mask[0] > 0) & (away <= PERIPHERAL_MM))
