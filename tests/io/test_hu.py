from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.errors import InputError
from covidct.io import read_scan
from covidct.io.hu import clean_hu, looks_like_hu, rescale, settle_intensity

from .files import scan

if TYPE_CHECKING:
    from pathlib import Path

HU, LUNGS = scan((20, 40, 40))


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i2", "?", "f4", "f8"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (-1, 5), (2, 3), (0.5, 0), (1, 0.25), (100, 7)])
def test_rescale_is_exact_and_as_small_as_can_be(kind: str, slope: float, intercept: float) -> None:
    rng = np.random.default_rng(1)
    stored = rng.integers(0, 100, (4, 5, 6)).astype(kind)
    truth = stored.astype(np.float64) * slope + intercept
    result = rescale(stored.copy(), slope, intercept)
    whole = np.dtype(kind).kind in "biu" and float(slope).is_integer() and float(intercept).is_integer()
    assert result.dtype == (np.int16 if whole else np.float32)
    np.testing.assert_array_equal(result, truth)


def test_rescale_at_the_edges_of_int16() -> None:
    edge = np.array([[[0, 65535]]], dtype=np.uint16)
    np.testing.assert_array_equal(rescale(edge, 1, -32768), [[[-32768, 32767]]])
    assert rescale(edge, 1, -32768).dtype == np.int16
    assert rescale(edge, 1, -32767).dtype == np.float32
    np.testing.assert_array_equal(rescale(edge, 1, -32767), [[[-32767, 32768]]])
    assert rescale(np.array([[[-40000, 0]]], np.int32)).dtype == np.float32
    assert np.isinf(rescale(np.array([[[1e300]]]))).all()
    fixed = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    fixed.flags.writeable = False
    np.testing.assert_array_equal(rescale(fixed, 1, -3), fixed.astype(int) - 3)


def test_padding_becomes_air_in_place() -> None:
    array = HU.copy()
    array[0, 0, :3] = (-2000, -3024, -2048)
    cleaned, findings = clean_hu(array)
    assert cleaned is array
    assert cleaned.min() == -1024
    np.testing.assert_array_equal(cleaned, np.maximum(array, -1024))
    assert [(f.code, f.action) for f in findings] == [("padding", "repaired")]
    assert "-3024" in findings[0].message
    assert clean_hu(HU.copy())[1] == ()
    fixed = np.full((3, 4, 5), -2000, np.int16)
    fixed.flags.writeable = False
    assert (clean_hu(fixed)[0] == -1024).all()
    assert (fixed == -2000).all()


def test_non_finite_values_by_where_they_lie() -> None:
    array = HU.astype(np.float32)
    array[:, :3, :3] = np.nan
    array[2, 39, 20] = -np.inf
    cleaned, findings = clean_hu(array.copy())
    assert (cleaned[~np.isfinite(array)] == -1024).all()
    assert [f.code for f in findings] == ["padding"]
    array[10, 20, 20] = np.inf
    with pytest.raises(InputError, match="not_finite"):
        clean_hu(array.copy())
    cleaned, findings = clean_hu(array.copy(), on_fault="warn")
    assert np.isfinite(cleaned).all()
    assert findings[0].code == "not_finite"
    assert "inside the field of view: 1 voxel;" in findings[0].message


def test_looks_like_hu_refuses_what_is_not() -> None:
    unit = (np.clip(HU, -1000, 400) + 1000.0) / 1400
    rng = np.random.default_rng(0)
    refused = {
        "unit": unit,
        "minus one to one": unit * 2 - 1,
        "bytes": np.rint(unit * 255).astype(np.uint8),
        "z-scores": (HU - HU.mean()) / HU.std(),
        "stored": HU + np.int16(1024),
        "stored with padding": np.where(HU.min() == HU, -2000, HU + 1024),
        "labels": LUNGS,
        "MR": np.abs(rng.normal(300, 200, HU.shape)),
        "X-ray": rng.integers(0, 4096, (1, 300, 300)),
        "only air": np.full((4, 5, 6), -1000),
        "only padding": np.full((4, 5, 6), -3000),
        "nothing": np.full((4, 5, 6), np.nan),
    }
    assert [name for name, array in refused.items() if looks_like_hu(array)] == []
    assert looks_like_hu(HU)
    assert looks_like_hu(HU.astype(np.float32))
    assert looks_like_hu(np.where(LUNGS > 0, HU, 0) + (LUNGS == 0) * 40)
    assert looks_like_hu(np.repeat(np.repeat(HU, 5, 1), 5, 2))


def test_settle_intensity_ways() -> None:
    unit = ((np.clip(HU, -1000, 400) + 1000.0) / 1400).astype(np.float32)
    array, intensity, findings = settle_intensity(unit.copy(), stored=np.dtype("f4"), on_fault="warn")
    assert intensity == "unit"
    np.testing.assert_array_equal(array, unit)
    assert findings[0].code == "not_hu"
    unit[3, 3, 3] = np.nan
    array, _, _ = settle_intensity(unit, stored=np.dtype("f4"), on_fault="repair")
    assert array[3, 3, 3] == 0


@pytest.mark.real
def test_no_real_scan_is_refused(real_data: Path) -> None:
    paths = sorted((real_data / "ct_imlab_lung3d").glob("*_ct.nii.gz"))
    paths += [real_data / "ct_cip" / name for name in ("ct-64.nrrd", "TestInput.nrrd", "ct-64Dicom")]
    paths += [real_data / "ct_totalsegmentator_abdomen" / "example_ct.nii.gz"]
    for path in paths:
        volume = read_scan(path)
        assert volume.intensity == "hu"
        assert volume.array.dtype == np.int16
        assert volume.array.min() >= -1024
