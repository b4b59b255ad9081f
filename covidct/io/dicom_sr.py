"""``dicom_report``: probabilities and volumes as a DICOM structured report (TID 1500)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.errors import InputError
from covidct.io.dicom_source import inherit, refused_headers
from covidct.io.dicom_terms import (
    MAKER,
    OWN_SCHEME,
    STRUCTURES,
    class_code,
    equipment,
    new_uid,
    require_highdicom,
    titled,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from covidct.io.dicom_source import DicomSource
    from covidct.io.dicom_terms import Algorithm, Code

__all__ = ("dicom_report",)

_SERIES_NUMBER = 9102  # see covidct/io/dicom_seg.py
_PROBABILITY: Code = ("122157", "DCM", "Probability")
_VOLUME: Code = ("118565006", "SCT", "Volume")  # CID 7469
_CUBIC_CENTIMETRE: Code = ("cm3", "UCUM", "cubic centimeter")  # CID 7462; the millilitre of the other outputs
_NO_UNIT: Code = ("1", "UCUM", "no units")
_CT_CHEST: Code = ("24627-2", "LN", "CT Chest")
_COMMENT: Code = ("121106", "DCM", "Comment")
_WORDS = (
    f"{RESEARCH_USE} Made by software without review by a person. Probabilities are those of the network, shares of 1 "
    "over its classes; they need not be calibrated for the patients at hand."
)


def dicom_report(
    source: DicomSource,
    *,
    algorithm: Algorithm,
    probabilities: Mapping[str, float] | None = None,
    segmentations: Sequence[Any] = (),
    volumes_ml: Mapping[str, float] | None = None,
) -> Any:  # noqa: ANN401 - highdicom is optional
    """Make a structured report: Comprehensive 3D SR, Measurement Report (TID 1500).

    A measurement group (TID 1501) for each class with its probability; a group (TID 1411) for each segment with its
    volume, which refers to the segment. The report is preliminary and unverified, and says in words what it is for.
    Patient and study are those of the source, series and instance are new.

    Args:
        source: the images.
        algorithm: made the probabilities, or the masks where there are none.
        probabilities: class name to probability in [0, 1].
        segmentations: of :func:`dicom_segmentation`.
        volumes_ml: name of a structure (:data:`covidct.io.dicom_terms.STRUCTURES`) to its volume in millilitres;
            needed of every segment.

    Returns:
        The data set (``highdicom.sr.Comprehensive3DSR``). It names the patient.

    Raises:
        InputError: when there is nothing to report, or the header of the source does not do.
        UsageError: when highdicom is missing.
    """
    require_highdicom()
    if not probabilities and not segmentations:
        raise InputError("There is neither a probability nor a segment, so no report is made of them.")
    import highdicom as hd

    with refused_headers():
        groups = [_class_group(name, value, algorithm) for name, value in (probabilities or {}).items()]
        for segmentation in segmentations:
            groups += _segment_groups(segmentation, source, volumes_ml or {})
        content = hd.sr.MeasurementReport(
            observation_context=_context(algorithm),
            procedure_reported=hd.sr.CodedConcept(*_CT_CHEST),
            imaging_measurements=groups,
        )
        comment = hd.sr.TextContentItem(
            name=hd.sr.CodedConcept(*_COMMENT),
            value=_WORDS,
            relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
        )
        content[0].ContentSequence.append(comment)  # TID 1500 is extensible
        made = hd.sr.Comprehensive3DSR(
            evidence=[*source.images, *segmentations],
            content=content,
            series_instance_uid=new_uid(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=new_uid(),
            instance_number=1,
            series_description=titled("Probabilities and volumes"),
            content_qualification="RESEARCH",
            is_complete=True,
            is_final=False,
            is_verified=False,
            coding_schemes=_own_scheme(probabilities or {}),
            **equipment(algorithm),
        )
        inherit(made, source)
    return made


def _own_scheme(names: Iterable[str]) -> list[Any] | None:
    """Who is behind the codes that no terminology has (PS3.3 C.12.1.1.5); None where there are none."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    if all(class_code(name)[1] != OWN_SCHEME for name in names):
        return None
    return [CodingSchemeIdentificationItem(OWN_SCHEME, name="Class names of covidct", responsible_organization=MAKER)]


def _context(algorithm: Algorithm) -> Any:  # noqa: ANN401
    """The observer: the software, by a UID of its own for each release and file of weights."""
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=["covidct", algorithm.version, algorithm.source]),
            name="covidct",
            manufacturer_name=MAKER,
            model_name=algorithm.name,
            serial_number=algorithm.weights or None,
        ),
    )
    return hd.sr.ObservationContext(observer_device_context=observer)


def _class_group(name: str, probability: float, algorithm: Algorithm) -> Any:  # noqa: ANN401
    """The probability of one class."""
    import highdicom as hd

    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=new_uid(), identifier=f"class {name}"),
        finding_type=hd.sr.CodedConcept(*class_code(name)),
        algorithm_id=hd.sr.AlgorithmIdentification(
            algorithm.name, algorithm.version, [f"{key}={value}" for key, value in algorithm.parameters.items()]
        ),
        measurements=[
            hd.sr.Measurement(
                name=hd.sr.CodedConcept(*_PROBABILITY), value=float(probability), unit=hd.sr.CodedConcept(*_NO_UNIT)
            )
        ],
    )


def _segment_groups(segmentation: Any, source: DicomSource, volumes_ml: Mapping[str, float]) -> list[Any]:  # noqa: ANN401
    """The volume of each segment of a segmentation."""
    import highdicom as hd

    labels = {structure.label: name for name, structure in STRUCTURES.items()}
    groups = []
    for item in segmentation.SegmentSequence:
        name = labels[item.SegmentLabel]
        made = item.SegmentationAlgorithmIdentificationSequence[0]
        region = STRUCTURES[name].region
        groups.append(
            hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(uid=item.TrackingUID, identifier=item.TrackingID),
                referenced_segment=hd.sr.ReferencedSegment(
                    sop_class_uid=segmentation.SOPClassUID,
                    sop_instance_uid=segmentation.SOPInstanceUID,
                    segment_number=int(item.SegmentNumber),
                    source_series=hd.sr.SourceSeriesForSegmentation(source.images[0].SeriesInstanceUID),
                ),
                finding_category=hd.sr.CodedConcept(*STRUCTURES[name].category),
                finding_type=hd.sr.CodedConcept(*STRUCTURES[name].kind),
                finding_sites=None if region is None else [hd.sr.FindingSite(hd.sr.CodedConcept(*region))],
                algorithm_id=hd.sr.AlgorithmIdentification(
                    made.AlgorithmName, made.AlgorithmVersion, [made.AlgorithmParameters]
                ),
                measurements=[
                    hd.sr.Measurement(
                        name=hd.sr.CodedConcept(*_VOLUME),
                        value=round(volumes_ml[name], 3),
                        unit=hd.sr.CodedConcept(*_CUBIC_CENTIMETRE),
                    )
                ],
            )
        )
    return groups
