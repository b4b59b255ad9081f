"""Files of a result: which there are, what they are called, and what is said where they cannot be made."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest

from covidct.inference.lesions import LesionSegmentation
from covidct.inference.result_files import FoundMasks, dicom_objects, mask_files, placed_file, result_files
from covidct.inference.segment import LungSegmentation
from covidct.io import ScanInput, read_dicom_source, read_scan
from covidct.labels import LESION_CLASSES
from covidct.volume import Volume, unknown_affine
from tests.fakes.dicom import body, identify, write_series

if TYPE_CHECKING:
    from pathlib import Path

HU = body((8, 24, 20))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    identify(write_series(folder, HU))
    return folder


def lungs(volume: Volume, source: str = "threshold") -> LungSegmentation:
    mask = (volume.array < -500).astype(np.uint8)
    mask[:, :, volume.shape[2] // 2 :] *= 2
    return LungSegmentation(mask, {"right": 1.0, "left": 1.0}, source)


def lesions(mask: np.ndarray) -> LesionSegmentation:
    return LesionSegmentation(mask, (), (), LESION_CLASSES["both"], "checkpoint:" + "ab" * 32, "threshold")


def test_masks_are_named_by_what_they_are(series: Path, tmp_path: Path) -> None:
    volume = read_scan(series)
    empty = lesions(np.zeros(volume.shape, np.uint8))
    files = mask_files(FoundMasks(volume, lungs(volume), empty))
    assert set(files) == {"lungs.nii.gz", "lesions.nii.gz"}  # that no lesion was found is a result
    (tmp_path / "x.nii.gz").write_bytes(files["lungs.nii.gz"])
    image: Any = nib.load(tmp_path / "x.nii.gz")
    read = np.asarray(image.dataobj)
    np.testing.assert_array_equal(read.T, lungs(volume).mask)
    assert gzip.decompress(files["lesions.nii.gz"])
    assert set(mask_files(FoundMasks(volume, lungs(volume, "lung_field")))) == {"lung_field.nii.gz"}


def test_without_geometry_there_is_no_mask() -> None:
    volume = Volume(np.zeros((4, 8, 8), np.float32), unknown_affine(), intensity="unit")
    assert mask_files(FoundMasks(volume, lungs(volume), lesions(np.zeros(volume.shape, np.uint8)))) == {}


def test_objects_are_those_of_what_was_found(series: Path) -> None:
    volume, source = read_scan(series), read_dicom_source(series)
    some = np.zeros(volume.shape, np.uint8)
    some[2:4, 5:9, 5:9] = 2
    pictures = {f"sc_{number}.dcm" for number in range(1, 7)}
    both = dicom_objects(FoundMasks(volume, lungs(volume), lesions(some)), source)
    assert set(both) == {"seg_lungs.dcm", "seg_lesions.dcm", "sr.dcm", "sc_1.dcm", "sc_2.dcm"}
    none = dicom_objects(FoundMasks(volume, lungs(volume), lesions(0 * some)), source)
    assert set(none) == {"seg_lungs.dcm", "sr.dcm"} | pictures
    field = dicom_objects(FoundMasks(volume, lungs(volume, "lung_field"), lesions(some)), source)
    assert set(field) == {"seg_lesions.dcm", "sr.dcm", "sc_1.dcm", "sc_2.dcm"}
    assert dicom_objects(FoundMasks(volume), source) == {}


def test_a_refusal_is_a_finding(series: Path, tmp_path: Path) -> None:
    volume = read_scan(series)
    found = FoundMasks(volume, lungs(volume))
    gone = ScanInput(tmp_path)
    files, told = result_files(found, gone, masks=True, dicom=True, on_fault="error")
    assert set(files) == {"lungs.nii.gz"}
    assert [finding.code for finding in told] == ["no_dicom_objects"]
    files, told = result_files(found, ScanInput(series), masks=False, dicom=True, on_fault="error")
    assert told == ()
    assert "sr.dcm" in files


def test_places_of_files() -> None:
    assert placed_file("scan-1", "lungs.nii.gz") == "masks/scan-1_lungs.nii.gz"
    assert placed_file("scan-1", "sr.dcm") == "dicom/scan-1/sr.dcm"
