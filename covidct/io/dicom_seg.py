"""``dicom_segmentation``: a mask of lungs or lesions as a DICOM segmentation on the slices of the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covidct import RESEARCH_USE
from covidct.errors import InputError, UsageError
from covidct.io.dicom_source import inherit, labels_on_slices, refused_headers
from covidct.io.dicom_terms import STRUCTURES, equipment, new_uid, require_highdicom, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.io.dicom_source import DicomSource
    from covidct.io.dicom_terms import Algorithm
    from covidct.volume import Volume

__all__ = ("dicom_segmentation",)

_SERIES_NUMBER = 9101  # beyond those that scanners count to; what tells series apart is their UID


def dicom_segmentation(
    labels: NDArray[np.uint8],
    volume: Volume,
    source: DicomSource,
    *,
    names: Sequence[str],
    algorithm: Algorithm,
    series_uid: str | None = None,
    number: int = 1,
) -> Any:  # noqa: ANN401 - highdicom is optional
    """Make a DICOM segmentation of a label map: a binary segment for each label that occurs.

    Its frames lie on the stored slices, whatever their orientation, and carry their positions; frames without a voxel
    of their segment are left out. Patient and study are those of the source, series and instance are new. Lungs and
    lesions are two objects (of one series, where they have one ``series_uid``), since they overlap: viewers that show
    one label a pixel show both, and no voxel is held four times.

    Args:
        labels: (D, H, W) uint8 on the grid of ``volume``.
        volume: the scan.
        source: its images.
        names: of the labels, index = label, 0 the background: :data:`covidct.labels.LUNGS`,
            :data:`covidct.labels.LESIONS`, or another selection of :data:`covidct.io.dicom_terms.STRUCTURES`.
        algorithm: made the labels.
        series_uid: SeriesInstanceUID; None makes one.
        number: InstanceNumber in the series, from 1.

    Returns:
        The data set (``highdicom.seg.Segmentation``), to be saved or sent. It names the patient.

    Raises:
        InputError: when no label occurs, or the header of the source does not do.
        GeometryError: when the volume was not read from ``source``.
        UsageError: when highdicom is missing, the shape is another, or a label has no name.
    """
    require_highdicom()
    if labels.shape != volume.shape:
        raise UsageError(f"The mask has shape {labels.shape}, its scan {volume.shape}: give the mask of this scan.")
    seen = np.zeros(256, bool)
    for plane in labels:  # counting wants wide integers: of a plane at a time
        seen |= np.bincount(plane.reshape(-1), minlength=256) > 0
    present = [value for value in range(1, 256) if seen[value]]
    if not present:
        raise InputError("The mask is empty, so that there is no segment to write.")
    if present[-1] >= len(names) or any(names[value] not in STRUCTURES for value in present):
        known = ", ".join(STRUCTURES)
        raise UsageError(f"The labels {present} need names of {known}; these are given: {', '.join(names)}.")
    numbers = np.zeros(256, np.uint8)  # label to segment number
    numbers[present] = np.arange(1, len(present) + 1)
    planes = numbers[_as_stored(labels_on_slices(labels, volume, source), source)]
    with refused_headers():
        made = _segmentation(planes, [names[value] for value in present], source, algorithm, series_uid, number)
        inherit(made, source)
    return made


def _as_stored(planes: NDArray[np.uint8], source: DicomSource) -> NDArray[np.uint8]:
    """Planes in the order of a multi-frame object's frames, those left out of the volume empty."""
    if not source.frames:
        return planes
    stored = np.zeros((int(source.images[0].NumberOfFrames), *source.shape), np.uint8)
    stored[list(source.frames)] = planes
    return stored


def _segmentation(
    planes: NDArray[np.uint8],
    names: Sequence[str],
    source: DicomSource,
    algorithm: Algorithm,
    series_uid: str | None,
    number: int,
) -> Any:  # noqa: ANN401
    """The object of planes that hold segment numbers."""
    import highdicom as hd

    what = titled("Masks of " + " and ".join(dict.fromkeys(STRUCTURES[name].group for name in names)))
    return hd.seg.Segmentation(
        source_images=list(source.images),
        pixel_array=planes,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(place, name, algorithm) for place, name in enumerate(names, 1)],
        series_instance_uid=series_uid or new_uid(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=number,
        series_description=titled("Masks of lungs and lesions"),
        content_label="COVIDCT_MASKS",
        content_description=what,
        content_qualification="RESEARCH",
        **equipment(algorithm),
    )


def _description(number: int, name: str, algorithm: Algorithm) -> Any:  # noqa: ANN401
    """What a segment shows and what made it."""
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    structure = STRUCTURES[name]
    families = codes.cid7162
    made = hd.AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=families.ArtificialIntelligence if algorithm.weights else families.MorphologicalOperations,
        version=algorithm.version,
        source="covidct",
        parameters=algorithm.parameters,
    )
    item = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=structure.label,
        segmented_property_category=Code(*structure.category),
        segmented_property_type=Code(*structure.kind),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=made,
        tracking_id=structure.label,
        tracking_uid=new_uid(),
        anatomic_regions=None if structure.region is None else [Code(*structure.region)],
        display_color=hd.color.CIELabColor.from_rgb(*structure.colour),
    )
    item.SegmentDescription = RESEARCH_USE
    return item
