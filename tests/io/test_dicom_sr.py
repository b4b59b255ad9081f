"""Reports parse back with highdicom and say what was found, by what, in which unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

import covidct
from covidct.errors import InputError
from covidct.io import read_scan
from covidct.io.dicom_seg import dicom_segmentation
from covidct.io.dicom_source import read_dicom_source
from covidct.io.dicom_sr import dicom_report
from covidct.io.dicom_terms import Algorithm
from covidct.labels import LESIONS, LUNGS
from tests.fakes.dicom import PATIENT, body, identify, write_series

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

HU = body((10, 24, 20))
CLASSIFIER = Algorithm("covidct COVNetTask", "checkpoint:" + "cd" * 32)
VOLUMES = {"right_lung": 1234.5678, "left_lung": 1000.25, "consolidation": 2.5}


def items(within: Iterable[Any]) -> Iterator[Any]:
    """All content items of a report or a group, at any depth."""
    for item in within:
        yield item
        yield from items(item.get("ContentSequence", ()))


def texts(within: Iterable[Any]) -> dict[str, str]:
    """Concept name of the text items to their text."""
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue for item in items(within) if "TextValue" in item
    }


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[Any]]:
    """The file of a report, its source and the segmentations that it refers to."""
    folder = tmp_path_factory.mktemp("report")
    identify(write_series(folder / "ct", HU))
    volume, source = read_scan(folder / "ct"), read_dicom_source(folder / "ct")
    lungs = 1 + (volume.array > 0).astype(np.uint8)
    lesions = np.where(volume.array > 60, np.uint8(2), np.uint8(0))
    by_threshold, network = Algorithm("by threshold", "threshold"), Algorithm("a network", "checkpoint:" + "ef" * 32)
    made = [
        dicom_segmentation(lungs, volume, source, names=LUNGS, algorithm=by_threshold),
        dicom_segmentation(lesions, volume, source, names=LESIONS, algorithm=network, number=2),
    ]
    probabilities = {"normal": 0.125, "non_covid": 0.25, "covid": 0.625}
    found = dicom_report(
        source, algorithm=CLASSIFIER, probabilities=probabilities, segmentations=made, volumes_ml=VOLUMES
    )
    found.save_as(folder / "sr.dcm")
    return folder / "sr.dcm", source, made


def test_probabilities_of_the_classes(report: tuple[Path, Any, list[Any]]) -> None:
    read = hd.sr.srread(report[0])
    content: Any = read.content
    groups = content.get_image_measurement_groups()
    found = {group.finding_type.value: group.get_measurements()[0] for group in groups}
    assert {code: measured.value for code, measured in found.items()} == {
        "17621005": 0.125,
        "NON_COVID": 0.25,
        "840539006": 0.625,
    }
    one = found["840539006"]
    assert one.name == hd.sr.CodedConcept("122157", "DCM", "Probability")
    assert one.unit == hd.sr.CodedConcept("1", "UCUM", "no units")
    said = texts(groups[0])
    assert said["Algorithm Name"] == "covidct COVNetTask"
    assert said["Algorithm Version"] == covidct.__version__
    assert said["Algorithm Parameters"] == "weights_sha256=" + "cd" * 32
    (scheme,) = read.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99COVIDCT"


def test_volumes_of_the_segments_in_units_of_ucum(report: tuple[Path, Any, list[Any]]) -> None:
    path, source, made = report
    by_uid = {one.SOPInstanceUID: one for one in made}
    content: Any = hd.sr.srread(path).content
    groups = content.get_volumetric_roi_measurement_groups()
    found = {}
    for group in groups:
        (measured,) = group.get_measurements()
        assert measured.name == hd.sr.CodedConcept("118565006", "SCT", "Volume")
        assert measured.unit == hd.sr.CodedConcept("cm3", "UCUM", "cubic centimeter")
        found[group.finding_type.meaning] = measured.value
        (segment,) = [item for item in items(group) if item.ConceptNameCodeSequence[0].CodeValue == "121191"]
        (reference,) = segment.ReferencedSOPSequence
        segmented = by_uid[reference.ReferencedSOPInstanceUID]
        described = segmented.get_segment_description(reference.ReferencedSegmentNumber)
        assert described.segmented_property_type == group.finding_type
        assert described.tracking_uid == group.tracking_uid
        series = [item.UID for item in items(group) if item.ConceptNameCodeSequence[0].CodeValue == "121232"]
        assert series == [source.images[0].SeriesInstanceUID]
    assert found == {"Right lung": 1234.568, "Left lung": 1000.25, "Lung consolidation": 2.5}


def test_the_report_says_what_it_is(report: tuple[Path, Any, list[Any]]) -> None:
    path, source, made = report
    read = hd.sr.srread(path)
    assert read.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (read.CompletionFlag, read.VerificationFlag, read.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    (comment,) = [item for item in read.content[0].ContentSequence if item.name.meaning == "Comment"]
    assert comment.value.startswith(covidct.RESEARCH_USE)
    assert read.SeriesDescription.endswith(covidct.RESEARCH_USE)
    assert read.ContentQualification == "RESEARCH"
    first = pydicom.dcmread(sorted((path.parent / "ct").iterdir())[0])
    for keyword in (*PATIENT, "StudyInstanceUID"):
        assert read[keyword].value == first[keyword].value, keyword
    assert read.SeriesInstanceUID not in {first.SeriesInstanceUID, *(one.SeriesInstanceUID for one in made)}
    evidence = {sop for _, _, sop, _ in read.get_evidence()}
    assert evidence == {image.SOPInstanceUID for image in (*source.images, *made)}


def test_the_observer_is_the_software(report: tuple[Path, Any, list[Any]]) -> None:
    said = texts(hd.sr.srread(report[0]).content)
    assert said["Device Observer Name"] == "covidct"
    assert said["Device Observer Manufacturer"] == "The covidct developers"
    assert said["Device Observer Model Name"] == "covidct COVNetTask"
    assert said["Device Observer Serial Number"] == "cd" * 32


def test_masks_alone_and_probabilities_alone(report: tuple[Path, Any, list[Any]]) -> None:
    _, source, made = report
    masks = dicom_report(source, algorithm=CLASSIFIER, segmentations=made, volumes_ml=VOLUMES)
    assert len(masks.ContentSequence[-2].ContentSequence) == 3
    classes = dicom_report(source, algorithm=CLASSIFIER, probabilities={"covid": 0.5})
    assert "CodingSchemeIdentificationSequence" not in classes
    with pytest.raises(InputError, match="neither"):
        dicom_report(source, algorithm=CLASSIFIER)
