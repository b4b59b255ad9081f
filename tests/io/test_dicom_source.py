"""The way back from the grid of a volume to the slices it was read from."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.uid import generate_uid

from covidct.errors import GeometryError, InputError
from covidct.io import read_scan
from covidct.io.dicom_source import labels_on_slices, read_dicom_source
from tests.fakes.dicom import PATIENT, body, edit, identify, positions, write_enhanced, write_series

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.io.faults import OnFault
    from covidct.volume import Volume

HU = body((10, 24, 20))
BRIGHT = 0  # HU: what is above it is the mask, in the files as in the volume


def bright(volume: Volume) -> NDArray[np.uint8]:
    return (volume.array > BRIGHT).astype(np.uint8)


@pytest.mark.parametrize("on_fault", ["error", "warn"])
def test_every_voxel_goes_back_to_its_slice(tmp_path: Path, on_fault: OnFault) -> None:
    at = positions(len(HU))[::-1]
    paths = write_series(tmp_path, HU[::-1], places=at)
    identify(paths)
    volume = read_scan(tmp_path, on_fault=on_fault)
    source = read_dicom_source(tmp_path, on_fault=on_fault)
    assert not source.resampled
    np.testing.assert_array_equal(labels_on_slices(bright(volume), volume, source), HU > BRIGHT)
    for grid, image, place in zip(source.grids, source.images, at[::-1], strict=True):
        np.testing.assert_allclose(grid[:3, 3], place, atol=1e-6)
        np.testing.assert_allclose([float(v) for v in image.ImagePositionPatient], place, atol=1e-6)


def test_filled_gaps_have_no_slice_to_go_to(tmp_path: Path) -> None:
    kept = [0, 1, 2, 4, 5, 6, 7, 8, 9]
    identify(write_series(tmp_path, HU[kept], places=positions(len(HU))[kept]))
    volume = read_scan(tmp_path, on_fault="repair")
    source = read_dicom_source(tmp_path, on_fault="repair")
    assert source.resampled
    assert volume.shape[0] == len(HU)
    np.testing.assert_array_equal(labels_on_slices(bright(volume), volume, source), HU[kept] > BRIGHT)


def test_a_straightened_tilt_leans_again(tmp_path: Path) -> None:
    hu = np.full((14, 40, 36), -1000, np.int16)
    hu[:, 4:36, 4:32] = 40
    hu[3:11, 14:24, 10:22] = 900
    identify(write_series(tmp_path, hu, spacing=(2.0, 1.0, 1.0), tilt=12))
    volume = read_scan(tmp_path, on_fault="repair")
    source = read_dicom_source(tmp_path, on_fault="repair")
    back = labels_on_slices((volume.array > 470).astype(np.uint8), volume, source)
    truth = hu > 470
    assert 2 * np.count_nonzero(back & truth) / (np.count_nonzero(back) + np.count_nonzero(truth)) > 0.95
    miss = np.argwhere(back).mean(0) - np.argwhere(truth).mean(0)
    assert np.abs(miss).max() < 0.5, "half a pixel"


def test_frames_of_a_multi_frame_object(tmp_path: Path) -> None:
    order = [3, 0, 5, 1, 9, 2, 8, 4, 7, 6]
    path = write_enhanced(tmp_path / "ct.dcm", HU, order=order)
    identify([path])
    volume, source = read_scan(path), read_dicom_source(path)
    assert [order[frame] for frame in source.frames] == list(range(10))
    np.testing.assert_array_equal(labels_on_slices(bright(volume), volume, source), HU > BRIGHT)


def test_a_zip_is_a_source_too(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", HU)
    identify(paths)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    source = read_dicom_source(tmp_path / "scan.zip")
    assert len(source.images) == len(HU)
    assert str(source.images[0].PatientName) == PATIENT["PatientName"]


def test_what_a_header_lacks_is_made_where_that_does_no_harm(tmp_path: Path) -> None:
    write_series(tmp_path, HU)
    first, *rest = read_dicom_source(tmp_path).images
    assert first.StudyDate == first.AccessionNumber == ""
    assert {image.FrameOfReferenceUID for image in rest} == {first.FrameOfReferenceUID}
    assert read_dicom_source(tmp_path).images[0].FrameOfReferenceUID == first.FrameOfReferenceUID
    assert float(first.SpacingBetweenSlices) == 2


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPClassUID"])
def test_a_series_without_a_uid_cannot_be_referred_to(tmp_path: Path, keyword: str) -> None:
    for path in write_series(tmp_path, HU):
        edit(path, **{keyword: None})
    with pytest.raises(InputError, match=f"no {keyword}"):
        read_dicom_source(tmp_path)


def test_values_that_are_not_quite_dicom_are_set_aside(tmp_path: Path) -> None:
    identify(write_series(tmp_path, HU), PatientSex="FEMALE", PatientBirthDate="1960")
    source = read_dicom_source(tmp_path)
    assert source.images[0].PatientSex == ""
    assert [element.value for element in source.aside] == ["1960", "FEMALE"]


def test_several_multi_frame_objects_are_refused(tmp_path: Path) -> None:
    for part, name in ((HU[:5], "a.dcm"), (HU[5:], "b.dcm")):
        path = write_enhanced(tmp_path / name, part)
        shift = 0 if name == "a.dcm" else 5 * 2.0
        uid = "1.2.826.0.1.3680043.2.1125.7"
        edit(path, SeriesInstanceUID=uid, StudyInstanceUID=generate_uid(entropy_srcs=["study"]))
        move(path, shift)
    with pytest.raises(InputError, match="2 multi-frame objects"):
        read_dicom_source(tmp_path)


def move(path: Path, mm: float) -> None:
    """Move the frames of an enhanced object along the body axis."""
    import pydicom

    dataset = pydicom.dcmread(path)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        x, y, z = groups.PlanePositionSequence[0].ImagePositionPatient
        groups.PlanePositionSequence[0].ImagePositionPatient = [x, y, float(z) + mm]
    dataset.save_as(path)


def test_another_volume_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HU)
    write_series(tmp_path / "b", HU[:6])
    volume = read_scan(tmp_path / "b")
    with pytest.raises(GeometryError, match="not read from these images"):
        labels_on_slices(bright(volume), volume, read_dicom_source(tmp_path / "a"))


def test_what_is_no_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no scan")
    with pytest.raises(InputError, match="no DICOM"):
        read_dicom_source(tmp_path)
