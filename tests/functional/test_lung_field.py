"""The published lung field against a plain scikit-image and scipy form of the reference's steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from numpy.typing import NDArray
from scipy import ndimage

from covidct.errors import InputError
from covidct.functional import LungField, lung_field
from tests.functional.chests import dice, ellipsoid_chest, real_scan

ski: Any = skimage  # without types

SPACING = (3.0, 2.5, 2.5)


def _hull_and_dilate(lung: NDArray[Any], steps: int) -> NDArray[np.bool_]:
    """The last step of the reference, with its own tools."""
    hulls = np.zeros(lung.shape, bool)
    for one, out in zip(lung, hulls, strict=True):
        if one.any():
            hull = ski.morphology.convex_hull_image(one)
            out[:] = one if hull.sum() > 2 * one.sum() else hull
    cross = ndimage.generate_binary_structure(3, 1)
    return np.asarray(ndimage.binary_dilation(hulls, cross, steps) if steps else hulls, bool)


def _reference(hu: NDArray[Any], spacing: tuple[float, float, float], steps: int) -> NDArray[np.bool_]:
    """Binarise per slice, pick lungs, part them by erosion and distance, hull, dilate (no slices cut from the top)."""
    air = np.zeros(hu.shape, bool)
    for one, out in zip(hu, air, strict=True):
        below = ndimage.gaussian_filter(one.astype(np.float32), 1.0, truncate=2.0) < -600
        labels: Any = ski.measure.label(below)
        for part in ski.measure.regionprops(labels):
            if part.area * spacing[1] * spacing[2] > 30 and part.eccentricity < 0.99:
                out |= labels == part.label
    labels = ski.measure.label(air, connectivity=1)
    voxel = np.prod(spacing)
    outer = set(np.unique(labels[[0, -1]][:, [0, -1]][:, :, [0, -1]]))
    kept = [
        p.label for p in ski.measure.regionprops(labels) if 0.68e6 <= p.area * voxel <= 7.5e6 and p.label not in outer
    ]
    lungs = ~np.isin(ski.measure.label(~np.isin(labels, kept)), [1])
    eroded = lungs
    for _ in range(22):
        parts = sorted(ski.measure.regionprops(ski.measure.label(eroded, connectivity=2)), key=lambda p: -p.area)
        if len(parts) > 1 and parts[0].area / parts[1].area < 4.8:
            break
        eroded = ndimage.binary_erosion(eroded)
    seeds = ski.measure.label(eroded, connectivity=2)
    one, two = (ndimage.distance_transform_edt(seeds != p.label, sampling=spacing) for p in parts[:2])
    return _hull_and_dilate(lungs & (one < two), steps) | _hull_and_dilate(lungs & (two < one), steps)


def test_equals_the_reference_form_on_a_coarse_scan() -> None:
    hu, _ = ellipsoid_chest(SPACING, trachea=False)
    field = lung_field(hu, SPACING, dilation=3)
    assert isinstance(field, LungField)
    assert field.found
    assert field.mask.dtype == np.uint8
    assert dice(field.mask > 0, _reference(hu, SPACING, 3)) > 0.995


@pytest.mark.parametrize("simple", [False, True])
def test_hull_of_a_phantom_with_trachea_and_nodule_at_the_wall(simple: bool) -> None:
    hu, lungs = ellipsoid_chest(SPACING, nodule=True)
    bare = lung_field(hu, SPACING, dilation=0, simple=simple)
    assert dice(bare.mask > 0, lungs > 0) > 0.95
    field = lung_field(hu, SPACING, simple=simple)
    nodule = (lungs == 1) & (hu > -200)
    assert nodule.sum() > 20
    assert (bare.mask[nodule] > 0).mean() > 0.8
    assert field.mask[nodule].all()


def test_dilation_is_city_block_distance() -> None:
    hu, _ = ellipsoid_chest(SPACING)
    bare = lung_field(hu, SPACING, dilation=0).mask
    distance = ndimage.distance_transform_cdt(bare == 0, "taxicab")
    np.testing.assert_array_equal(lung_field(hu, SPACING).mask > 0, distance <= 10)


@pytest.mark.parametrize("simple", [False, True])
def test_fine_and_coarse_grids_agree(simple: bool) -> None:
    fine, lungs = ellipsoid_chest((1.5, 1.0, 1.0))
    mask = lung_field(fine, (1.5, 1.0, 1.0), dilation=0, simple=simple).mask
    assert dice(mask > 0, lungs > 0) > 0.97
    one = lung_field(fine, (1.5, 1.0, 1.0), dilation=4, simple=simple).mask
    assert (one[lungs > 0] > 0).mean() > 0.999


def test_trachea_that_leaves_at_the_top_and_joins_the_outside_is_cut() -> None:
    hu, lungs = ellipsoid_chest(SPACING, extent=(330.0, 280.0, 360.0))
    middle = hu.shape[1] // 2
    hu[-4:, middle - 3 : middle + 3, : hu.shape[2] // 2] = -1000  # an open mouth
    hu[60:, middle - 2 : middle + 2, 45:100] = np.minimum(hu[60:, middle - 2 : middle + 2, 45:100], -990)
    field = lung_field(hu, SPACING, dilation=0)
    assert field.found
    assert dice(field.mask > 0, lungs > 0) > 0.9


@pytest.mark.parametrize("simple", [False, True])
def test_scans_without_lungs_are_flagged(simple: bool) -> None:
    for value in (-1000, 0, 1000):
        field = lung_field(np.full((20, 48, 48), value, np.int16), (5.0, 4.0, 4.0), simple=simple)
        assert not field.found
        assert not field.mask.any()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="lung field"):
        lung_field(np.zeros((4, 4), np.int16), SPACING)


@pytest.mark.real
@pytest.mark.parametrize("name", ["id002", "ct-64"])
def test_real_lungs_are_covered(real_data: Path, name: str) -> None:
    hu, spacing, lungs = real_scan(real_data, name)
    assert lungs is not None
    field = lung_field(hu, spacing, dilation=2)
    assert field.found
    assert (field.mask[lungs > 0] > 0).mean() > 0.99


@pytest.mark.real
def test_real_abdomen_is_flagged(real_data: Path) -> None:
    hu, spacing, _ = real_scan(real_data, "ct_totalsegmentator_abdomen/example_ct.nii.gz")
    assert not lung_field(hu, spacing).found
