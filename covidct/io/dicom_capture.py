"""``dicom_captures``: pictures of a result as DICOM secondary captures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from covidct import RESEARCH_USE
from covidct.io.dicom_source import inherit, refused_headers
from covidct.io.dicom_terms import equipment, new_uid, require_highdicom, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from covidct.io.dicom_source import DicomSource
    from covidct.io.dicom_terms import Algorithm

__all__ = ("Capture", "dicom_captures")

_SERIES_NUMBER = 9103  # see covidct/io/dicom_seg.py


@dataclass(frozen=True, slots=True)
class Capture:
    """A picture to be captured: an axial slice as radiologists view it, the patient's right on the left.

    Attributes:
        pixels: (H, W, 3) uint8, red, green, blue.
        spacing: mm of a pixel along (rows, columns).
        words: what it shows; goes into the object's description.
    """

    pixels: NDArray[np.uint8]
    spacing: tuple[float, float]
    words: str


def dicom_captures(captures: Sequence[Capture], source: DicomSource, *, algorithm: Algorithm) -> list[Any]:
    """Make secondary captures, the instances of one new series, patient and study those of the source.

    ``BurnedInAnnotation`` says whether pixels name the patient (PS3.3 C.7.6.1): the words that covidct draws do not, so
    it is NO, unless the source says YES of its own pixels, which lie under the overlay.

    Args:
        captures: the pictures.
        source: the images they were made of.
        algorithm: made what is drawn.

    Returns:
        A data set (``highdicom.sc.SCImage``) for each. They name the patient in their headers.

    Raises:
        InputError: when the header of the source does not do.
        UsageError: when highdicom is missing.
    """
    require_highdicom()
    with refused_headers():
        series = new_uid()
        return [_captured(one, source, algorithm, series, number) for number, one in enumerate(captures, 1)]


def _captured(one: Capture, source: DicomSource, algorithm: Algorithm, series: str, number: int) -> Any:  # noqa: ANN401
    """One picture as an object."""
    import highdicom as hd
    from pydicom import Dataset

    first = source.images[0]
    spacing: Any = one.spacing  # highdicom takes any numbers and asks for whole ones in its types
    made = hd.sc.SCImage.from_ref_dataset(
        first,
        pixel_array=one.pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        pixel_spacing=spacing,
        series_instance_uid=series,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=number,
        series_description=titled("Pictures of the result"),
        content_qualification="RESEARCH",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **equipment(algorithm),
    )
    inherit(made, source)
    made.BurnedInAnnotation = "YES" if first.get("BurnedInAnnotation") == "YES" else "NO"
    made.DerivationDescription = one.words
    made.ImageComments = RESEARCH_USE
    made.BodyPartExamined = "CHEST"
    references = []
    for image in source.images:
        reference = Dataset()
        reference.ReferencedSOPClassUID = image.SOPClassUID
        reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
        references.append(reference)
    made.SourceImageSequence = references
    return made
