"""Lungs on analytic chests, on phantoms, on scans without lungs, and on real scans with masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from covidct.errors import InputError
from covidct.functional import segment_lungs
from covidct.functional.lungs import _segment
from covidct.phantom import simulate_ct
from tests.functional.chests import Spacing, dice, ellipsoid_chest, real_scan


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (3.0, 2.5, 2.5), (5.0, 1.2, 1.2), (1.5, 2.0, 3.0)])
def test_analytic_chest(spacing: Spacing) -> None:
    hu, lungs = ellipsoid_chest(spacing)
    mask = segment_lungs(hu, spacing)
    assert mask.dtype == np.uint8
    assert mask.shape == hu.shape
    for side in (1, 2):
        assert dice(mask == side, lungs == side) > 0.98
    middle = hu.shape[2] // 2
    tube = np.s_[-int(60 / spacing[0]) :, hu.shape[1] // 2, middle]
    assert not mask[tube].any(), "the trachea is no lung"


def test_a_finer_grid_is_the_same_algorithm() -> None:
    spacing = (1.5, 1.0, 1.0)
    hu, lungs = ellipsoid_chest(spacing, noise=40)
    mask, whole = segment_lungs(hu, spacing), _segment(hu, spacing, -500.0, (1, 1, 1))
    assert dice(mask > 0, whole > 0) >= 0.985
    assert dice(mask > 0, lungs > 0) > 0.99


def test_sizes_that_the_grid_does_not_divide() -> None:
    hu, lungs = ellipsoid_chest((1.0, 1.0, 1.0))
    crop = np.s_[20:-21, 5:-8, 3:-2]
    mask = segment_lungs(hu[crop], (1.0, 1.0, 1.0))
    assert mask.shape == hu[crop].shape
    assert dice(mask > 0, lungs[crop] > 0) > 0.985


def test_lungs_that_touch_are_parted() -> None:
    hu, lungs = ellipsoid_chest((3.0, 2.5, 2.5), gap=-4.0, trachea=False)
    mask = segment_lungs(hu, (3.0, 2.5, 2.5))
    assert dice(mask > 0, lungs > 0) > 0.98
    for side in (1, 2):
        assert dice(mask == side, lungs == side) > 0.97


def test_flipping_the_scan_swaps_the_sides() -> None:
    hu, _ = ellipsoid_chest()
    mask = segment_lungs(hu, (3.0, 2.5, 2.5))
    flipped = segment_lungs(np.ascontiguousarray(hu[:, :, ::-1]), (3.0, 2.5, 2.5))[:, :, ::-1]
    assert dice(flipped == 2, mask == 1) > 0.995
    assert dice(flipped == 1, mask == 2) > 0.995


def test_float_scans_views_and_a_small_nodule_at_the_wall() -> None:
    spacing = (3.0, 2.5, 2.5)
    hu, lungs = ellipsoid_chest(spacing, nodule=True)
    mask = segment_lungs(hu, spacing)
    np.testing.assert_array_equal(segment_lungs(hu.astype(np.float32), spacing), mask)
    view = np.asfortranarray(hu)
    np.testing.assert_array_equal(segment_lungs(view, spacing), mask)
    nodule = (lungs == 1) & (hu > -200)
    assert (mask[nodule] == 1).mean() > 0.9
    assert dice(mask > 0, lungs > 0) > 0.98


@pytest.mark.parametrize("dtype", [">i2", "int32", "int64", "float16", "float64"])
def test_any_number_format_gives_the_same_mask(dtype: str) -> None:
    """Arrays from other readers come in other byte orders and widths; OpenCV alone would misread or refuse them."""
    spacing = (3.0, 1.25, 1.25)  # fine enough for a coarse grid
    hu, _ = ellipsoid_chest(spacing)
    mask = segment_lungs(hu, spacing)
    assert mask.any()
    assert dice(segment_lungs(hu.astype(dtype), spacing) > 0, mask > 0) > 0.999


def test_holes_of_nan_are_no_lung() -> None:
    spacing = (3.0, 1.25, 1.25)
    hu, _ = ellipsoid_chest(spacing)
    spoilt = hu.astype(np.float32)
    spoilt[:, :6] = np.nan  # outside the patient
    spoilt[:, -6:] = np.inf
    assert dice(segment_lungs(spoilt, spacing) > 0, segment_lungs(hu, spacing) > 0) > 0.999


def test_gas_below_the_diaphragm_is_no_lung() -> None:
    spacing = (3.0, 2.5, 2.5)
    hu, lungs = ellipsoid_chest(spacing, extent=(420.0, 280.0, 360.0))
    hu[4:20, 40:70, 80:110] = -1000
    mask = segment_lungs(hu, spacing)
    assert not mask[:21].any()
    assert dice(mask > 0, lungs > 0) > 0.97


@pytest.mark.parametrize("kind", ["air", "water", "noise", "uniform", "bone", "padding", "tiny", "flat"])
def test_a_scan_without_lungs_is_empty_and_no_error(kind: str) -> None:
    rng = np.random.default_rng(0)
    shape = (40, 64, 64)
    scans: dict[str, NDArray[Any]] = {
        "air": np.full(shape, -1000, np.int16),
        "water": np.zeros(shape, np.int16),
        "noise": rng.normal(0, 300, shape).astype(np.float32),
        "uniform": rng.integers(-1024, 3000, shape).astype(np.int16),
        "bone": np.full(shape, 1500, np.int16),
        "padding": np.full(shape, -2048, np.int16),
        "tiny": np.full((1, 1, 1), -800, np.int16),
        "flat": np.full((1, 64, 64), -800, np.float32),
    }
    hu = scans[kind]
    mask = segment_lungs(hu, (5.0, 4.0, 4.0))
    assert mask.shape == hu.shape
    assert not mask.any()


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (float("nan"), 1.0, 1.0), (1.0, -1.0, 1.0)])
def test_bad_spacing_is_refused(spacing: Spacing) -> None:
    with pytest.raises(InputError, match="spacing"):
        segment_lungs(np.zeros((4, 4, 4), np.int16), spacing)


def test_bad_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(D, H, W\)"):
        segment_lungs(np.zeros((4, 4), np.int16), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("diagnosis", ["normal", "cap", "covid"])
def test_phantoms(diagnosis: str) -> None:
    phantom = simulate_ct(3, diagnosis=diagnosis)  # type: ignore[arg-type]
    mask = segment_lungs(phantom.volume.array, phantom.volume.spacing)
    assert dice(mask > 0, phantom.lung_mask > 0) >= 0.95
    for side in (1, 2):
        assert dice(mask == side, phantom.lung_mask == side) >= 0.93


@pytest.mark.real
def test_real_scans_with_masks(real_data: Path) -> None:
    found = []
    for name in ("id001", "id002", "id003", "ct-64"):
        hu, spacing, lungs = real_scan(real_data, name)
        assert lungs is not None
        mask = segment_lungs(hu, spacing)
        found.append(dice(mask > 0, lungs > 0))
        for side in (1, 2):
            assert dice(mask == side, lungs == side) > 0.93, (name, side)
    assert min(found) >= 0.935
    assert np.mean(found) >= 0.97


@pytest.mark.real
def test_real_abdomen_has_no_lungs(real_data: Path) -> None:
    hu, spacing, _ = real_scan(real_data, "ct_totalsegmentator_abdomen/example_ct.nii.gz")
    assert not segment_lungs(hu, spacing).any()
