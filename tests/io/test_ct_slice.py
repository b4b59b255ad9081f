"""A single DICOM slice in Hounsfield units, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidct.errors import InputError, ModalityError
from covidct.io.ct_slice import read_ct_slice
from tests.fakes.dicom import write_series

HU = np.clip(np.random.default_rng(0).normal(-600, 300, (3, 40, 50)), -1024, 400).round()
HU[:, :8] = -1000
HU[:, 20:] = 40


def test_values_and_spacing_are_those_of_the_file(tmp_path: Path) -> None:
    paths = write_series(tmp_path, HU, spacing=(5.0, 0.8, 0.7))
    for index, path in enumerate(paths):
        volume = read_ct_slice(path)
        np.testing.assert_array_equal(volume.array[0], HU[index])
        assert volume.spacing[1:] == (0.8, 0.7)
        assert np.isnan(volume.spacing[0])
        assert [finding.code for finding in volume.findings] == ["single_slice"]


def test_what_is_no_ct_slice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.dcm").write_text("no image")
    with pytest.raises(InputError, match="no DICOM image"):
        read_ct_slice(tmp_path / "notes.dcm")
    with pytest.raises(InputError, match="There is no file"):
        read_ct_slice(tmp_path / "absent.dcm")
    whole = write_series(tmp_path / "a", HU, spacing=(5.0, 0.8, 0.7))[0]
    (tmp_path / "cut.dcm").write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(InputError, match="truncated"):
        read_ct_slice(tmp_path / "cut.dcm")
    (zeros, *_) = write_series(tmp_path / "z", np.full((3, 40, 50), 3000.0), spacing=(5.0, 0.8, 0.7))
    with pytest.raises(InputError, match="not the Hounsfield units"):
        read_ct_slice(zeros)


def test_other_kinds_and_positions_are_refused(tmp_path: Path) -> None:
    import pydicom

    path = write_series(tmp_path, HU, spacing=(5.0, 0.8, 0.7))[0]
    for name, changes, error in (
        ("mr", {"Modality": "MR"}, ModalityError),
        ("scout", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, ModalityError),
        ("coronal", {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, InputError),
        ("prone", {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}, InputError),
    ):
        dataset = pydicom.dcmread(path)
        for key, value in changes.items():
            setattr(dataset, key, value)
        dataset.save_as(tmp_path / f"{name}.dcm")
        with pytest.raises(error, match=rf"{name}\.dcm"):
            read_ct_slice(tmp_path / f"{name}.dcm")


@pytest.mark.real
def test_a_slice_of_a_real_series(real_data: Path) -> None:
    from covidct.io import read_scan

    folder = real_data / "ct_lung_pet_ct_dx" / "Lung_Dx-A0001" / "series2_kernelL"
    whole = read_scan(folder)
    slices = {read_ct_slice(path).array[0].tobytes() for path in sorted(folder.glob("*.dcm"))[:5]}
    assert slices <= {plane.astype(np.float32).tobytes() for plane in whole.array}
