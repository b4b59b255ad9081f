"""Secondary captures keep the pixels, the patient and the warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest

import covidct
from covidct.io.dicom_capture import Capture, dicom_captures
from covidct.io.dicom_source import read_dicom_source
from covidct.io.dicom_terms import Algorithm
from tests.fakes.dicom import PATIENT, body, identify, write_series

if TYPE_CHECKING:
    from pathlib import Path

HU = body((6, 24, 20))
ALGORITHM = Algorithm("covidct lungs by threshold", "threshold")


def captures() -> list[Capture]:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 41, 3)).astype(np.uint8)
    return [Capture(one, (0.75, 0.5), f"slice {number} of 6") for number, one in enumerate(pixels)]


def test_pictures_in_a_series_of_their_own(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct", HU)
    identify(paths)
    given = captures()
    made = dicom_captures(given, read_dicom_source(tmp_path / "ct"), algorithm=ALGORITHM)
    first = pydicom.dcmread(paths[0])
    for number, (one, capture) in enumerate(zip(made, given, strict=True), 1):
        one.save_as(tmp_path / f"{number}.dcm")
        read = pydicom.dcmread(tmp_path / f"{number}.dcm")
        np.testing.assert_array_equal(read.pixel_array, capture.pixels)
        assert read.InstanceNumber == number
        assert [float(v) for v in read.PixelSpacing] == [0.75, 0.5]
        assert list(read.PatientOrientation) == ["L", "P"]
        assert read.DerivationDescription == capture.words
        assert read.ContentQualification == "RESEARCH"
        assert read.ImageComments == covidct.RESEARCH_USE
        assert read.SeriesDescription.endswith(covidct.RESEARCH_USE)
        assert {image.ReferencedSOPInstanceUID for image in read.SourceImageSequence} == {
            pydicom.dcmread(path).SOPInstanceUID for path in paths
        }
        for keyword in (*PATIENT, "StudyInstanceUID"):
            assert read[keyword].value == first[keyword].value, keyword
    assert len({one.SeriesInstanceUID for one in made}) == 1
    assert made[0].SeriesInstanceUID != first.SeriesInstanceUID
    assert len({one.SOPInstanceUID for one in made}) == 2


@pytest.mark.parametrize(("said", "wanted"), [(None, "NO"), ("NO", "NO"), ("YES", "YES")])
def test_burned_in_names_are_those_of_the_source(tmp_path: Path, said: str | None, wanted: str) -> None:
    identify(write_series(tmp_path, HU), BurnedInAnnotation=said)
    made = dicom_captures(captures(), read_dicom_source(tmp_path), algorithm=ALGORITHM)
    assert {one.BurnedInAnnotation for one in made} == {wanted}
