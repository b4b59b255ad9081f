"""Labels of coarse logits on a fine grid, against scipy's interpolation and closed forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from covidct.errors import InputError
from covidct.functional import isotropic_cube, labels_from_logits, resample_mask
from covidct.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray


def grid(spacing: tuple[float, float, float], origin: tuple[float, float, float] = (0, 0, 0)) -> NDArray[np.float64]:
    """Affine of (d, h, w) spacing and the place of voxel 0 along (w, h, d)."""
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = origin
    return affine


def brute_force(
    logits: NDArray[np.float32], affine: NDArray[np.float64], target: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """All logits on the fine grid by scipy, then the arg-max."""
    index = (np.linalg.inv(affine) @ target)[2::-1, [2, 1, 0, 3]]
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    place = np.einsum("ij,j...->i...", index[:, :3], place) + index[:, 3].reshape(3, 1, 1, 1)
    fine = np.stack([ndimage.map_coordinates(one.astype(np.float64), place, order=1, mode="nearest") for one in logits])
    sizes = np.reshape(logits.shape[1:], (3, 1, 1, 1))
    inside = ((place > -0.5 - 1e-6) & (place < sizes - 0.5 + 1e-6)).all(0)
    return np.where(inside, fine.argmax(0), 0).astype(np.uint8)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize(
    ("target", "shape"),
    [
        (grid((1.3, 0.7, 0.9), (-2.1, 0.4, 1.0)), (30, 41, 35)),
        (grid((5.0, 4.0, 4.0), (1.0, 1.5, 0.5)), (6, 7, 8)),
        (grid((2.0, 2.0, 2.0)), (10, 12, 14)),
        (grid((0.9, 0.9, 0.9), (-40.0, -3.0, -3.0)), (20, 40, 60)),
    ],
)
def test_as_interpolating_everything_does(
    classes: int, target: NDArray[np.float64], shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(classes)
    logits = rng.standard_normal((classes, 10, 12, 14)).astype(np.float32)
    logits[0, :3] += 9  # a box of background below, and in front
    logits[0, :, :2] += 9
    affine = grid((2.0, 2.0, 2.0))
    found = labels_from_logits(logits, affine=affine, target_affine=target, shape=shape)
    wanted = brute_force(logits, affine, target, shape)
    assert found.dtype == np.uint8
    assert len(np.unique(wanted)) == classes
    assert np.mean(found != wanted) < 1e-4  # ties of float32


def test_flipped_axes_and_single_voxels() -> None:
    logits = np.zeros((2, 1, 4, 5), np.float32)
    logits[1, 0, 1:3, 3:] = 2
    logits[0, 0] = 1
    target = grid((1.0, -0.5, -0.5), (4.25, 3.25, 0.0))
    found = labels_from_logits(logits, affine=np.eye(4), target_affine=target, shape=(1, 8, 10))
    np.testing.assert_array_equal(found, brute_force(logits, np.eye(4), target, (1, 8, 10)))
    assert found.any()


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (500.0, 0.0, 0.0)])
def test_no_foreground_and_no_overlap_give_background(origin: tuple[float, float, float]) -> None:
    logits = np.zeros((3, 4, 4, 4), np.float32)
    logits[1] = 1 if origin[0] else 0
    assert not labels_from_logits(
        logits, affine=np.eye(4), target_affine=grid((1, 1, 1), origin), shape=(4, 4, 4)
    ).any()


def test_a_plane_lies_where_it_is_between_the_voxels() -> None:
    x = np.arange(16, dtype=np.float32)
    logits = np.zeros((2, 16, 16, 16), np.float32)
    logits[1] = 6.34 - x  # class 1 up to x = 6.34 coarse voxels
    target = grid((1.0, 1.0, 0.1))
    found = labels_from_logits(logits, affine=np.eye(4), target_affine=target, shape=(16, 16, 150))
    wanted = np.broadcast_to(np.arange(150) * 0.1 < 6.34, found.shape)
    np.testing.assert_array_equal(found, wanted)


def test_a_ball_is_rounder_than_by_nearest_neighbour() -> None:
    volume = Volume(np.zeros((40, 96, 96), np.int16), grid((5.0, 2.0, 2.0)))
    place = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"))
    fine = np.linalg.norm((place - np.reshape([19.5, 47.5, 47.5], (3, 1, 1, 1))) * [[[[5]]], [[[2]]], [[[2]]]], axis=0)
    ball = fine < 60
    cube = isotropic_cube(volume, 32)
    centres = (np.arange(32) - 15.5) * cube.spacing[0]
    radius = np.sqrt(centres[:, None, None] ** 2 + centres[:, None] ** 2 + centres**2)
    logits = np.stack((np.zeros_like(radius), 60 - radius)).astype(np.float32)
    linear = labels_from_logits(logits, affine=cube.affine, target_affine=volume.affine, shape=volume.shape)
    nearest = resample_mask((logits[1] > 0).astype(np.uint8), cube, volume)

    def dice(mask: NDArray[np.uint8]) -> float:
        return float(2 * np.sum(ball & (mask > 0)) / (ball.sum() + mask.sum()))

    assert dice(linear) > 0.99
    assert 1 - dice(linear) < (1 - dice(nearest)) / 3


def test_slanting_grids_are_refused() -> None:
    slanting = np.eye(4)
    slanting[0, 1] = 0.1
    with pytest.raises(InputError, match="parallel"):
        labels_from_logits(
            np.zeros((2, 4, 4, 4), np.float32), affine=np.eye(4), target_affine=slanting, shape=(4, 4, 4)
        )
