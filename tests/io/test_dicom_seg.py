"""Segmentations parse back with highdicom, and lie on the slices of their source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

import covidct
from covidct.errors import InputError, UsageError
from covidct.functional import segment_lungs
from covidct.io import read_scan
from covidct.io.dicom_seg import dicom_segmentation
from covidct.io.dicom_source import read_dicom_source
from covidct.io.dicom_terms import Algorithm, class_code
from covidct.labels import LESION_CLASSES, LESIONS, LUNGS
from tests.fakes.dicom import AXIAL, PATIENT, body, identify, positions, write_enhanced, write_series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

HU = body((10, 24, 20))
SHA = "ab" * 32
NETWORK = Algorithm("covidct lesion network", f"checkpoint:{SHA}")
OBLIQUE = (0.9, 0.1, -0.4242640687, 0.0486833, 0.9486833, 0.3125)


def upright(row: Sequence[float], column: Sequence[float]) -> tuple[float, ...]:
    """Two direction cosines at right angles."""
    first = np.array(row) / np.linalg.norm(row)
    second = np.array(column) - np.dot(column, first) * first
    return (*first.tolist(), *(second / np.linalg.norm(second)).tolist())


ORIENTATIONS = {
    "axial": AXIAL,
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "oblique": upright(OBLIQUE[:3], OBLIQUE[3:]),
    "prone": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
}


def two_labels(hu: NDArray[Any]) -> NDArray[np.uint8]:
    """Labels that follow from the values alone, whatever the order of the voxels."""
    return ((hu > 20).astype(np.uint8) + (hu > 80)).astype(np.uint8)


def on_sources(
    segmentation: hd.seg.Segmentation, files: Mapping[str, pydicom.Dataset]
) -> dict[tuple[str, int], NDArray[np.uint8]]:
    """Frames by source instance and segment number, each checked to lie where its source lies."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    frames: dict[tuple[str, int], NDArray[np.uint8]] = {}
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    for frame, groups in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        uid = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        source = files[uid]
        assert list(groups.PlanePositionSequence[0].ImagePositionPatient) == list(source.ImagePositionPatient)
        assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == list(source.PixelSpacing)
        np.testing.assert_allclose(
            [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient],
            [float(v) for v in source.ImageOrientationPatient],
            atol=1e-9,
        )
        own = groups if "SegmentIdentificationSequence" in groups else shared
        frames[uid, int(own.SegmentIdentificationSequence[0].ReferencedSegmentNumber)] = frame
    return frames


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_frames_lie_on_the_source_slices_and_miss_nothing(tmp_path: Path, orientation: str) -> None:
    directions = ORIENTATIONS[orientation]
    at = positions(len(HU), orientation=directions)
    order = np.random.default_rng(3).permutation(len(HU))
    paths = write_series(tmp_path / "ct", HU[order], orientation=directions, places=at[order])
    identify(paths)
    volume, source = read_scan(tmp_path / "ct"), read_dicom_source(tmp_path / "ct")
    made = dicom_segmentation(two_labels(volume.array), volume, source, names=LESIONS, algorithm=NETWORK)
    made.save_as(tmp_path / "seg.dcm")
    segmentation = hd.seg.segread(tmp_path / "seg.dcm")
    files = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, paths)}
    frames = on_sources(segmentation, files)
    assert int(segmentation.NumberOfFrames) == len(frames)
    truth = {str(pydicom.dcmread(path).SOPInstanceUID): HU[k] for path, k in zip(paths, order, strict=True)}
    empty = np.zeros(HU.shape[1:], np.uint8)
    for uid, hu in truth.items():
        wanted = two_labels(hu)
        for number in (1, 2):
            np.testing.assert_array_equal(frames.get((uid, number), empty), wanted == number)
    assert len(segmentation.SourceImageSequence) == len(HU)


def test_frames_of_a_multi_frame_object_are_referred_to_one_by_one(tmp_path: Path) -> None:
    order = [3, 0, 5, 1, 9, 2, 8, 4, 7, 6]
    path = write_enhanced(tmp_path / "ct.dcm", HU, order=order, orientation=ORIENTATIONS["coronal"])
    identify([path])
    volume, source = read_scan(path), read_dicom_source(path)
    made = dicom_segmentation(two_labels(volume.array), volume, source, names=LESIONS, algorithm=NETWORK)
    at = positions(len(HU), orientation=ORIENTATIONS["coronal"])
    for frame, groups in zip(made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True):
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        k = order[int(image.ReferencedFrameNumber) - 1]
        np.testing.assert_allclose(
            [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient], at[k], atol=1e-6
        )
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        np.testing.assert_array_equal(frame, two_labels(HU[k]) == number)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A series, its volume and its images."""
    folder = tmp_path_factory.mktemp("series")
    identify(write_series(folder, HU))
    return folder, read_scan(folder), read_dicom_source(folder)


def test_segments_say_what_they_show_and_what_made_them(written: tuple[Path, Any, Any], tmp_path: Path) -> None:
    _, volume, source = written
    lungs = two_labels(volume.array)
    algorithm = Algorithm("covidct lungs by threshold", "threshold")
    dicom_segmentation(lungs, volume, source, names=LUNGS, algorithm=algorithm).save_as(tmp_path / "lungs.dcm")
    lesions = np.where(lungs == 2, np.uint8(2), np.uint8(0))
    dicom_segmentation(lesions, volume, source, names=LESIONS, algorithm=NETWORK).save_as(tmp_path / "lesions.dcm")
    first, second = hd.seg.segread(tmp_path / "lungs.dcm"), hd.seg.segread(tmp_path / "lesions.dcm")
    right, left = (first.get_segment_description(number) for number in (1, 2))
    assert right.segmented_property_type == hd.sr.CodedConcept("3341006", "SCT", "Right lung")
    assert left.segmented_property_type == hd.sr.CodedConcept("44029006", "SCT", "Left lung")
    assert right.segmented_property_category == hd.sr.CodedConcept("91723000", "SCT", "Anatomical Structure")
    assert right.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters == "method=threshold"
    (lesion,) = second.SegmentSequence  # no ground glass, so no segment of it
    assert lesion.segmented_property_type == hd.sr.CodedConcept("95436008", "SCT", "Lung consolidation")
    assert lesion.segmented_property_category.value == "49755003"
    assert lesion.AnatomicRegionSequence[0].CodeValue == "39607008"
    made = lesion.SegmentationAlgorithmIdentificationSequence[0]
    assert made.AlgorithmName == "covidct lesion network"
    assert made.AlgorithmVersion == covidct.__version__
    assert SHA in made.AlgorithmParameters
    assert made.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert second.DeviceSerialNumber == SHA


def test_ground_glass_has_the_code_of_the_standard(written: tuple[Path, Any, Any]) -> None:
    from pydicom.sr.codedict import codes

    _, volume, source = written
    lesions = (volume.array > 80).astype(np.uint8)
    made = dicom_segmentation(lesions, volume, source, names=LESIONS, algorithm=NETWORK)
    assert made.SegmentSequence[0].segmented_property_type == codes.cid6104.GroundGlassOpacity
    merged = dicom_segmentation(lesions, volume, source, names=LESION_CLASSES["merge"], algorithm=NETWORK)
    assert merged.SegmentSequence[0].segmented_property_type == codes.SCT.Lesion


def test_patient_and_study_are_inherited_and_the_rest_is_new(written: tuple[Path, Any, Any]) -> None:
    folder, volume, source = written
    first = pydicom.dcmread(sorted(folder.iterdir())[0])
    made = [
        dicom_segmentation(two_labels(volume.array), volume, source, names=LUNGS, algorithm=NETWORK) for _ in range(2)
    ]
    for keyword in (*PATIENT, "StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[0][keyword].value == first[keyword].value, keyword
    uids = {one.SeriesInstanceUID for one in made} | {one.SOPInstanceUID for one in made}
    assert len(uids) == 4
    assert not uids & {first.SeriesInstanceUID, first.SOPInstanceUID}
    assert made[0].SeriesDescription.endswith(covidct.RESEARCH_USE)
    assert made[0].ContentDescription.endswith(covidct.RESEARCH_USE)
    assert made[0].ContentQualification == "RESEARCH"
    assert made[0].SegmentSequence[0].SegmentDescription == covidct.RESEARCH_USE


def test_odd_values_of_the_patient_are_passed_on(tmp_path: Path) -> None:
    identify(write_series(tmp_path / "ct", HU), PatientSex="FEMALE", PatientBirthDate="1960")
    volume, source = read_scan(tmp_path / "ct"), read_dicom_source(tmp_path / "ct")
    made = dicom_segmentation(two_labels(volume.array), volume, source, names=LUNGS, algorithm=NETWORK)
    made.save_as(tmp_path / "seg.dcm")
    read = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (read.PatientSex, read.PatientBirthDate) == ("FEMALE", "1960")


def test_what_cannot_be_written_is_refused(written: tuple[Path, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, volume, source = written
    labels = two_labels(volume.array)
    arguments: dict[str, Any] = {"names": LUNGS, "algorithm": NETWORK}
    with pytest.raises(InputError, match="empty"):
        dicom_segmentation(np.zeros_like(labels), volume, source, **arguments)
    with pytest.raises(UsageError, match="names"):
        dicom_segmentation(labels, volume, source, names=("background", "heart"), algorithm=NETWORK)
    with pytest.raises(UsageError, match="shape"):
        dicom_segmentation(labels[1:], volume, source, **arguments)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'covidct\[dicom\]'"):
        dicom_segmentation(labels, volume, source, **arguments)


def test_a_header_that_no_object_can_be_made_of_is_refused_without_its_values(tmp_path: Path) -> None:
    identify(write_series(tmp_path, HU), SOPClassUID="1.2.826.0.7.7.7")
    volume, source = read_scan(tmp_path), read_dicom_source(tmp_path)
    with pytest.raises(InputError, match="no DICOM object") as refused:
        dicom_segmentation(two_labels(volume.array), volume, source, names=LUNGS, algorithm=NETWORK)
    assert "1.2.826" not in str(refused.value)


def test_classes_have_codes() -> None:
    assert class_code("covid") == ("840539006", "SCT", "COVID-19")
    assert class_code("non_covid") == ("NON_COVID", "99COVIDCT", "non covid")


@pytest.mark.real
@pytest.mark.parametrize("name", ["ct_lung_pet_ct_dx", "ct_cip/ct-64Dicom"])
def test_real_series(real_data: Path, name: str, tmp_path: Path) -> None:
    volume, source = read_scan(real_data / name), read_dicom_source(real_data / name)
    lungs = segment_lungs(volume.array, volume.spacing)
    algorithm = Algorithm("covidct lungs by threshold", "threshold")
    dicom_segmentation(lungs, volume, source, names=LUNGS, algorithm=algorithm).save_as(tmp_path / "seg.dcm")
    segmentation = hd.seg.segread(tmp_path / "seg.dcm")
    found = (pydicom.dcmread(path) for path in (real_data / name).rglob("*.dcm"))
    files = {str(one.SOPInstanceUID): one for one in found}
    frames = on_sources(segmentation, files)
    counts = {number: sum(int(f.sum()) for (_, own), f in frames.items() if own == number) for number in (1, 2)}
    assert counts == {1: int((lungs == 1).sum()), 2: int((lungs == 2).sum())}
    for (uid, number), frame in frames.items():
        hu = files[uid].pixel_array * float(files[uid].RescaleSlope) + float(files[uid].RescaleIntercept)
        if frame.sum() > 200:
            assert hu[frame > 0].mean() < -500, (uid, number)  # air: the mask lies on the pixels that it was made of
