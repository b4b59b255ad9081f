from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from covidct.datasets.layout import find_folder, list_scans, settle_sides
from covidct.errors import InputError, ManifestError
from covidct.io import read_mask, read_scan

if TYPE_CHECKING:
    from pathlib import Path

MASK = np.zeros((2, 3, 6), dtype=np.uint8)
MASK[:, :, 0:2], MASK[0, 1, 4] = 1, 2


def test_folders_by_any_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "lung_mask").mkdir()
    assert find_folder(tmp_path, ["Lungs", "Lung_Mask"], dataset="X") == tmp_path / "lung_mask"
    with pytest.raises(ManifestError, match="no folder Scans or CT in"):
        find_folder(tmp_path, ["Scans", "CT"], dataset="X")
    with pytest.raises(ManifestError, match="X was unpacked"):
        find_folder(tmp_path / "nowhere", ["Scans"], dataset="X")


def test_scans_in_natural_order_whatever_their_folder(tmp_path: Path) -> None:
    for name in ("b/2.mhd", "a/10.MHD", "a/9.mhd", "a/9.raw", "a/.8.mhd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in list_scans(tmp_path, suffixes=(".mhd",))] == ["2.mhd", "9.mhd", "10.MHD"]


def test_sides_as_they_should_be() -> None:
    for mask in (MASK, np.where(MASK == 1, MASK, 0).astype(np.uint8), np.zeros_like(MASK)):
        same, findings = settle_sides(mask, on_fault="error")
        assert same is mask
        assert findings == ()


def test_swapped_sides() -> None:
    mirrored = np.ascontiguousarray(MASK[:, :, ::-1])
    with pytest.raises(InputError, match=r"right lung of the mask lies on the patient's left.*swapped_sides.*repair"):
        settle_sides(mirrored, on_fault="error")
    kept, findings = settle_sides(mirrored, on_fault="warn")
    assert kept is mirrored
    assert [(f.code, f.action) for f in findings] == [("swapped_sides", "recorded")]
    mended, findings = settle_sides(mirrored, on_fault="repair")
    assert [(f.code, f.action) for f in findings] == [("swapped_sides", "repaired")]
    np.testing.assert_array_equal(mended == 2, mirrored == 1)
    np.testing.assert_array_equal(mended == 1, mirrored == 2)
    assert mended.dtype == np.uint8


@pytest.mark.real
@pytest.mark.parametrize("case", ["id001", "id002", "id003"])
def test_sides_of_real_masks(real_data: Path, case: str) -> None:
    (scan,) = (real_data / "ct_imlab_lung3d").glob(f"{case}*_ct.nii.gz")
    volume = read_scan(scan)
    mask = read_mask(scan.with_name(scan.name.replace("_ct", "_lung_lr_derived")), volume)
    assert settle_sides(mask, on_fault="error") == (mask, ())
    with pytest.raises(InputError, match="swapped_sides"):
        settle_sides(np.array([0, 2, 1], dtype=np.uint8)[mask], on_fault="error")
