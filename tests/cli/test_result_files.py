"""What ``triage`` leaves beside its records: masks, a typed table, DICOM objects."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK
from pyarrow import parquet

import covidct
from covidct.__main__ import main
from covidct.io import read_mask, read_scan
from covidct.models import LesionMaskRCNN
from covidct.report import result_schema
from covidct.weights import sha256_file
from tests.fakes.checkpoint import phantom, write_nifti
from tests.fakes.dicom import PATIENT, identify, positions, write_series
from tests.fakes.lesion_network import detect_by_grey_value, write_lesion_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

sitk: Any = SimpleITK
jsonschema: Any = pytest.importorskip("jsonschema")

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def as_coronal(path: Path, number: int) -> None:
    """A phantom as a coronal DICOM series with a patient."""
    volume = phantom(number).volume
    stored = np.rint(volume.array)[::-1].transpose(1, 0, 2)  # slices towards the back, rows towards the feet
    depth, height, width = volume.spacing
    identify(write_series(path, stored, spacing=(height, depth, width), orientation=CORONAL))


@pytest.fixture(scope="module")
def out(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM series and a NIfTI file, triaged with a lesion network and ``--dicom``."""
    place = tmp_path_factory.mktemp("files")
    as_coronal(place / "in" / "series", 0)
    write_nifti(place / "in" / "plain.nii.gz", phantom(1))
    lesions = write_lesion_checkpoint(place / "lesions.ckpt")
    arguments = ["triage", str(place / "in"), "--checkpoint", str(checkpoint), "--lesions", str(lesions), "--dicom"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LesionMaskRCNN, "detect", detect_by_grey_value)
        assert main([*arguments, "--out", str(place / "out")]) == 0
    return place / "out"


def records(out: Path) -> dict[str, dict[str, Any]]:
    """Format of the input to its record."""
    found = [json.loads(path.read_text()) for path in (out / "scans").glob("*.json")]
    return {record["geometry"]["format"]: record for record in found}


def test_records_fit_the_schema_and_name_their_files(out: Path) -> None:
    found = records(out)
    for record in found.values():
        jsonschema.validate(record, result_schema())
        for name in record["files"]:
            assert (out / name).is_file()
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.parent.name != "scans" and path.is_file()}
    tables = {"cohort.csv", "cohort.parquet", "index.html", "inputs.csv", "run.json"}
    assert written == {name for record in found.values() for name in record["files"]} | tables
    assert not [name for name in found["nifti"]["files"] if name.startswith("dicom")]
    (told,) = [finding for finding in found["nifti"]["findings"] if finding["code"] == "no_dicom_objects"]
    assert "no DICOM series" in told["message"]


def test_masks_lie_on_the_grid_of_their_source(out: Path) -> None:
    record = records(out)["nifti"]
    source = sitk.ReadImage(str(out.parent / "in" / "plain.nii.gz"))
    for name in ("lungs", "lesions"):
        mask = sitk.ReadImage(str(out / "masks" / f"{record['id']}_{name}.nii.gz"))
        assert mask.GetSize() == source.GetSize()
        np.testing.assert_allclose(mask.GetDirection(), source.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(mask.GetOrigin(), source.GetOrigin(), atol=1e-3)
        assert sitk.GetArrayFromImage(mask).any()


def test_masks_of_a_coronal_series_are_stored_coronally_and_read_back(out: Path) -> None:
    record = records(out)["dicom"]
    volume = read_scan(out.parent / "in" / "series")
    path = out / "masks" / f"{record['id']}_lungs.nii.gz"
    assert sitk.ReadImage(str(path)).GetSize() == (32, 24, 32)
    mask = read_mask(path, volume)
    voxel = np.prod(volume.spacing) / 1000
    assert np.count_nonzero(mask == 1) * voxel == pytest.approx(record["lungs_ml"]["right"], abs=0.06)


def test_the_parquet_table_is_that_of_csv(out: Path) -> None:
    with (out / "cohort.csv").open(newline="") as stream:
        ids = [row["id"] for row in csv.DictReader(stream)]
    table = parquet.read_table(out / "cohort.parquet")
    assert table["id"].to_pylist() == ids
    assert table["lung_right_ml"].to_pylist()[0] > 100


def test_objects_agree_with_the_record_and_with_counted_voxels(out: Path, checkpoint: Path) -> None:
    record = records(out)["dicom"]
    folder = out / "dicom" / record["id"]
    content: Any = hd.sr.srread(folder / "sr.dcm").content
    probabilities = {
        group.finding_type.value: group.get_measurements()[0].value for group in content.get_image_measurement_groups()
    }
    assert probabilities == pytest.approx(
        dict(zip(("17621005", "385093006", "840539006"), record["probabilities"].values(), strict=True))
    )
    volumes = {
        group.finding_type.meaning: group.get_measurements()[0].value
        for group in content.get_volumetric_roi_measurement_groups()
    }
    counted: dict[str, float] = {}
    for name in ("seg_lungs.dcm", "seg_lesions.dcm"):
        segmentation = hd.seg.segread(folder / name)
        measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        voxel = float(np.prod([*map(float, measures.PixelSpacing), float(measures.SpacingBetweenSlices)])) / 1000
        for frame, groups in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
            own = (
                groups if "SegmentIdentificationSequence" in groups else segmentation.SharedFunctionalGroupsSequence[0]
            )
            number = int(own.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            meaning = segmentation.get_segment_description(number).segmented_property_type.meaning
            counted[meaning] = counted.get(meaning, 0.0) + int(frame.sum()) * voxel
    assert volumes == pytest.approx(counted, abs=1e-3)
    assert volumes["Right lung"] == pytest.approx(record["lungs_ml"]["right"], abs=0.06)
    rows = {row["lesion"]: row["volume_ml"] for row in record["lesions"]}
    assert volumes["Lung consolidation"] == pytest.approx(rows["consolidation"], abs=1e-3)
    report = pydicom.dcmread(folder / "sr.dcm")
    assert report.DeviceSerialNumber == sha256_file(checkpoint)
    assert str(report.PatientName) == PATIENT["PatientName"]


def test_pictures_show_lesions_and_say_what_they_are(out: Path) -> None:
    folder = out / "dicom" / records(out)["dicom"]["id"]
    captures = [pydicom.dcmread(path) for path in sorted(folder.glob("sc_*.dcm"))]
    assert 1 <= len(captures) <= 6
    for capture in captures:
        assert min(capture.Rows, capture.Columns) >= 512
        assert capture.PixelSpacing[0] == pytest.approx(capture.PixelSpacing[1], rel=0.01)
        assert covidct.RESEARCH_USE in capture.DerivationDescription
        colours = capture.pixel_array.reshape(-1, 3).astype(int)
        assert np.abs(colours[:, 0] - colours[:, 2]).max() > 60  # outlines, lesions and their names


def test_a_run_goes_on_with_the_same_files_and_not_with_others(
    out: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (out / "dicom").rglob("*.dcm")}
    plain = ["triage", str(out.parent / "in"), "--checkpoint", str(checkpoint), "--out", str(out), "--resume"]
    arguments = [*plain, "--lesions", str(out.parent / "lesions.ckpt")]
    assert main(arguments) == 2
    assert "dicom" in capsys.readouterr().err
    assert main([*arguments, "--dicom"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "dicom").rglob("*.dcm")} == before
    assert "DICOM objects of 1 scan" in capsys.readouterr().out


def test_nothing_is_written_that_is_not_wanted(checkpoint: Path, empty: Path, tmp_path: Path) -> None:
    scan = write_nifti(tmp_path / "a.nii.gz", phantom(0))
    assert main(["triage", str(scan), "--checkpoint", str(checkpoint), "--out", str(empty), "--no-masks"]) == 0
    assert not (empty / "masks").exists()
    assert not (empty / "dicom").exists()
    (record,) = records(empty).values()
    assert record["files"] == []


def test_a_series_with_a_gap_keeps_its_own_slices(checkpoint: Path, empty: Path, tmp_path: Path) -> None:
    volume = phantom(0).volume
    kept = [index for index in range(24) if index != 12]
    at = positions(24, spacing=volume.spacing[0])[kept]
    identify(write_series(tmp_path / "ct", np.rint(volume.array)[kept], spacing=volume.spacing, places=at))
    arguments = ["triage", str(tmp_path / "ct"), "--checkpoint", str(checkpoint), "--out", str(empty)]
    assert main([*arguments, "--dicom", "--on-fault", "repair"]) == 0
    (record,) = records(empty).values()
    segmentation = hd.seg.segread(empty / "dicom" / record["id"] / "seg_lungs.dcm")
    places = {
        round(float(groups.PlanePositionSequence[0].ImagePositionPatient[2]), 4)
        for groups in segmentation.PerFrameFunctionalGroupsSequence
    }
    assert places <= {round(float(z), 4) for z in at[:, 2]}
    assert len(segmentation.SourceImageSequence) == 23


def test_a_header_that_does_not_do_stops_nothing(
    checkpoint: Path, empty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = phantom(0).volume
    paths = write_series(tmp_path / "ct", np.rint(volume.array), spacing=volume.spacing)
    identify(paths, StudyInstanceUID=None)
    arguments = ["triage", str(tmp_path / "ct"), "--checkpoint", str(checkpoint), "--out", str(empty), "--dicom"]
    assert main(arguments) == 0
    (record,) = records(empty).values()
    assert "no_dicom_objects" in [finding["code"] for finding in record["findings"]]
    assert "StudyInstanceUID" in capsys.readouterr().err
    assert not (empty / "dicom").exists()


def test_without_the_extra_the_error_names_it(
    checkpoint: Path, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_nifti(tmp_path / "a.nii.gz", phantom(0))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = ["triage", str(scan), "--checkpoint", str(checkpoint), "--out", str(empty), "--dicom"]
    assert main(arguments) == 2
    assert "pip install 'covidct[dicom]'" in capsys.readouterr().err
    assert main(["segment", str(scan), str(tmp_path / "m.nii.gz"), "--dicom"]) == 2
    assert "pip install 'covidct[dicom]'" in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.slow
def test_real_series(real_data: Path, checkpoint: Path, empty: Path) -> None:
    names = ("ct_cip/ct-64Dicom", "ct_lung_pet_ct_dx")
    inputs = [str(real_data / name) for name in names]
    assert main(["triage", *inputs, "--checkpoint", str(checkpoint), "--out", str(empty), "--dicom"]) == 0
    for path in (empty / "scans").glob("*.json"):
        record = json.loads(path.read_text())
        folder = empty / "dicom" / record["id"]
        content: Any = hd.sr.srread(folder / "sr.dcm").content
        volumes = [group.get_measurements()[0].value for group in content.get_volumetric_roi_measurement_groups()]
        assert volumes == pytest.approx([record["lungs_ml"]["right"], record["lungs_ml"]["left"]], abs=0.06)
        assert int(hd.seg.segread(folder / "seg_lungs.dcm").NumberOfFrames) > 60
        assert len(list(folder.glob("sc_*.dcm"))) == 6
