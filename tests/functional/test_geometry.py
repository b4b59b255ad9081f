"""The cube against analytic bodies and numerical integration; masks against explicit nearest neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from covidct.errors import InputError, UsageError
from covidct.functional import isotropic_cube, resample_mask
from covidct.volume import Volume, unknown_affine


def _volume(array: NDArray[np.generic], spacing: tuple[float, float, float], *, angle: float = 0.0) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [angle, -angle / 2, angle / 3], degrees=True).as_matrix()
    affine[:3, :3] *= spacing[::-1]
    affine[:3, 3] = (-120.0, 33.0, -710.0)
    return Volume(array, affine)


def _world(volume: Volume) -> NDArray[np.float64]:
    """LPS mm of every voxel, (D, H, W, 3)."""
    d, h, w = np.indices(volume.shape)
    homogeneous: NDArray[np.float64] = np.stack([w, h, d, np.ones_like(w)], -1) @ volume.affine.T
    return homogeneous[..., :3]


@pytest.mark.parametrize("angle", [0.0, 14.0])
def test_ramp_is_kept_and_voxels_stay_where_they_are(angle: float) -> None:
    empty = _volume(np.zeros((40, 90, 75), np.int16), (5.0, 1.7, 2.1), angle=angle)
    direction = np.array([1.5, -2.0, 0.7])  # HU per mm
    source = Volume((_world(empty) @ direction).astype(np.float32), empty.affine)
    cube = isotropic_cube(source, 48)
    assert cube.array.dtype == np.float32
    np.testing.assert_allclose(cube.spacing, 200 / 48)
    index = np.linalg.inv(source.affine)
    points = _world(cube) @ index[:3, :3].T + index[:3, 3]  # source voxels (w, h, d)
    reach = 2 * np.array(cube.spacing[::-1]) / np.array(source.spacing[::-1])
    inner = ((points > reach) & (points < np.array(source.shape[::-1]) - 1 - reach)).all(-1)
    assert inner.sum() > 1000
    np.testing.assert_allclose(cube.array[inner], (_world(cube) @ direction)[inner], atol=0.05)


@pytest.mark.parametrize("spacing", [(1.0, 0.7, 0.7), (5.0, 0.7, 0.7), (2.0, 1.4, 1.0)])
@pytest.mark.parametrize("size", [32, 128])
def test_sphere_keeps_its_volume(spacing: tuple[float, float, float], size: int) -> None:
    shape = tuple(int(140 / s) for s in spacing)
    empty = _volume(np.zeros(shape, np.int16), spacing)
    points = _world(empty)
    centre = points.reshape(-1, 3).mean(0) + np.array([3.1, -2.2, 1.3])
    radius = 40.0
    inside = np.linalg.norm(points - centre, axis=-1) < radius
    cube = isotropic_cube(Volume(np.where(inside, 100, -900).astype(np.int16), empty.affine), size)
    voxel = np.prod(cube.spacing)
    analytic = 4 / 3 * np.pi * radius**3
    assert (cube.array > -400).sum() * voxel == pytest.approx(analytic, rel=0.03)
    share = np.clip((cube.array + 900) / 1000, 0, None)
    assert share.sum() * voxel == pytest.approx(inside.sum() * np.prod(spacing), rel=0.005)
    middle = (share[..., None] * _world(cube)).reshape(-1, 3).sum(0) / share.sum()
    np.testing.assert_allclose(middle, points[inside].mean(0), atol=0.05)


def test_equals_numerical_integration_of_the_linear_interpolant() -> None:
    parabola = np.arange(40) ** 2 / 4.0
    source = _volume(np.broadcast_to(parabola.astype(np.float32), (6, 6, 40)), (40 / 6, 40 / 6, 1.0))
    cube = isotropic_cube(source, 12)
    ratio = 40 / 12
    box = np.sqrt(ratio**2 - 1)
    fine = (np.arange(20000) + 0.5) / 20000 - 0.5
    for j in range(12):
        centre = (j + 0.5 - 6) * ratio + 19.5
        line = np.interp(centre + fine * box, np.arange(40), parabola)
        np.testing.assert_allclose(cube.array[6, 6, j], line.mean(), atol=0.02)


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize("depth", [6, 16])
def test_whole_blocks_become_their_means(ratio: int, depth: int) -> None:
    """Slices that fill the cube exactly: each target voxel is the mean of its own block, nothing else."""
    array = np.random.default_rng(ratio).integers(-1024, 3000, (depth, 16 * ratio, 16 * ratio)).astype(np.int16)
    cube = isotropic_cube(_volume(array, (0.7 * ratio, 0.7, 0.7), angle=5.0), 16)
    expected = np.full((16, 16, 16), -1024.0)
    first = (16 - depth) // 2
    expected[first : first + depth] = array.reshape(depth, 16, ratio, 16, ratio).mean((2, 4))
    np.testing.assert_allclose(cube.array, expected, atol=0.01)


def test_blocks_and_depth_together() -> None:
    """Blocks of 4 x 4 within slices, and along the depth the linear interpolant integrated numerically."""
    array = np.random.default_rng(1).integers(-1024, 3000, (64, 64, 64)).astype(np.int16)
    cube = isotropic_cube(_volume(array, (0.9, 0.9, 0.9)), 16)
    means = array.reshape(64, 16, 4, 16, 4).mean((2, 4))
    points = ((np.arange(4000) + 0.5) / 4000 - 0.5) * np.sqrt(15)
    for j in range(1, 15):
        at = np.floor(4 * j + 1.5 + points).astype(int)
        share = (4 * j + 1.5 + points - at)[:, None, None]
        line = (means[at] * (1 - share) + means[at + 1] * share).mean(0)
        np.testing.assert_allclose(cube.array[j], line, atol=0.2)


def test_no_aliasing() -> None:
    """A grating finer than the cube turns into its mean, where plain interpolation would show a false pattern."""
    stripes = np.where(np.arange(256) % 2, 500, -500).astype(np.int16)
    cube = isotropic_cube(_volume(np.broadcast_to(stripes, (64, 64, 256)), (4.0, 4.0, 1.0)), 64)
    assert np.abs(cube.array[:, :, 2:-2]).max() < 40


def test_an_isotropic_cube_is_left_as_it_is() -> None:
    array = np.random.default_rng(0).integers(-1024, 3000, (16, 16, 16)).astype(np.int16)
    source = _volume(array, (2.5, 2.5, 2.5), angle=9.0)
    cube = isotropic_cube(source, 16)
    np.testing.assert_array_equal(cube.array, array)
    np.testing.assert_allclose(cube.affine, source.affine, atol=1e-9)


def test_upsampling_is_linear_interpolation() -> None:
    array = np.random.default_rng(0).normal(size=(5, 5, 5)).astype(np.float32) * 100
    cube = isotropic_cube(_volume(array, (3.0, 3.0, 3.0)), 15)
    at = np.clip((np.arange(15) + 0.5) / 3 - 0.5, 0, 4)
    expected = np.apply_along_axis(lambda v: np.interp(at, np.arange(5), v), 2, array)
    expected = np.apply_along_axis(lambda v: np.interp(at, np.arange(5), v), 1, expected)
    expected = np.apply_along_axis(lambda v: np.interp(at, np.arange(5), v), 0, expected)
    np.testing.assert_allclose(cube.array, expected, atol=1e-3)


def test_padding_around_the_centre() -> None:
    cube = isotropic_cube(_volume(np.full((10, 40, 40), 70, np.int16), (2.0, 1.0, 1.0)), 20, pad_hu=-777)
    np.testing.assert_array_equal(cube.array[:5], -777)
    np.testing.assert_array_equal(cube.array[15:], -777)
    np.testing.assert_allclose(cube.array[5:15], 70, rtol=1e-6)
    part = isotropic_cube(_volume(np.full((9, 40, 40), 70, np.int16), (2.0, 1.0, 1.0)), 20, pad_hu=-930)
    np.testing.assert_allclose(part.array[[5, 14]], -430, rtol=1e-5)  # half in the scan, half outside


def test_a_single_slice_and_a_single_voxel() -> None:
    assert isotropic_cube(_volume(np.zeros((1, 30, 20), np.int16), (5.0, 1.0, 1.0)), 8).shape == (8, 8, 8)
    np.testing.assert_array_equal(isotropic_cube(_volume(np.full((1, 1, 1), 5, np.int16), (1, 1, 1)), 4).array, 5)


@pytest.mark.parametrize("angle", [0.0, 20.0])
def test_mask_to_the_cube_and_back(angle: float) -> None:
    empty = _volume(np.zeros((30, 64, 60), np.int16), (5.0, 2.5, 2.5), angle=angle)
    centred = _world(empty) - _world(empty).reshape(-1, 3).mean(0)
    mask = (np.linalg.norm(centred, axis=-1) < 60).astype(np.uint8) * np.where(centred[..., 0] > 0, 2, 1).astype(
        np.uint8
    )
    cube = isotropic_cube(empty, 96)
    back = resample_mask(resample_mask(mask, empty, cube), cube, empty)
    assert back.shape == mask.shape
    for side in (1, 2):
        dice = 2 * ((back == side) & (mask == side)).sum() / ((back == side).sum() + (mask == side).sum())
        assert dice > 0.97


@pytest.mark.parametrize("angle", [0.0, 25.0])
def test_resample_mask_equals_explicit_nearest_neighbour(angle: float) -> None:
    rng = np.random.default_rng(5)
    mask = rng.integers(0, 3, (7, 9, 11)).astype(np.uint8)
    source = _volume(np.zeros(mask.shape, np.int16), (3.0, 1.3, 1.1))
    target = _volume(np.zeros((10, 8, 9), np.int16), (1.9, 1.7, 1.45), angle=angle)
    target.affine[:3, 3] += (0.31, -2.13, 1.17)
    points = (_world(target) - source.affine[:3, 3]) @ np.linalg.inv(source.affine[:3, :3]).T
    index = np.floor(points + 0.5).astype(int)[..., ::-1]
    inside = np.asarray(((index >= 0) & (index < mask.shape)).all(-1))
    expected = np.where(inside, mask[tuple(np.where(inside[..., None], index, 0).transpose(3, 0, 1, 2))], 0)
    np.testing.assert_array_equal(resample_mask(mask, source, target), expected)


def test_disjoint_grids_give_an_empty_mask() -> None:
    source = _volume(np.zeros((4, 4, 4), np.int16), (1.0, 1.0, 1.0))
    target = Volume(source.array, source.affine + np.array([[0, 0, 0, 500], *[[0, 0, 0, 0]] * 3]))
    assert not resample_mask(np.ones((4, 4, 4), np.uint8), source, target).any()


def test_bad_input_is_refused() -> None:
    array = np.zeros((4, 4, 4), np.float32)
    with pytest.raises(InputError, match="spacing"):
        isotropic_cube(Volume(array, unknown_affine()))
    with pytest.raises(InputError, match="Hounsfield"):
        isotropic_cube(Volume(array, np.eye(4), intensity="unit"))
    with pytest.raises(UsageError, match="size=0"):
        isotropic_cube(Volume(array, np.eye(4)), 0)
    with pytest.raises(InputError, match="shape"):
        resample_mask(np.zeros((4, 4, 5), np.uint8), Volume(array, np.eye(4)), Volume(array, np.eye(4)))
