"""Words and codes of DICOM objects: what a segment, a class and the software that made them are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import covidct
from covidct import RESEARCH_USE
from covidct.errors import UsageError

__all__ = (
    "CLASS_CODES",
    "MAKER",
    "OWN_SCHEME",
    "STRUCTURES",
    "Algorithm",
    "Code",
    "Structure",
    "class_code",
    "equipment",
    "new_uid",
    "require_highdicom",
    "titled",
)

Code = tuple[str, str, str]
"""Code value, coding scheme designator, code meaning (PS3.3 section 8)."""

MAKER = "The covidct developers"
"""Manufacturer of the software that makes the objects."""

OWN_SCHEME = "99COVIDCT"
"""Designator of the project's own codes (PS3.3 section 8.2: private ones begin with 99)."""

_ANATOMY: Code = ("91723000", "SCT", "Anatomical Structure")  # CID 7150, as the next one
_ABNORMAL: Code = ("49755003", "SCT", "Morphologically Abnormal Structure")
_LUNG: Code = ("39607008", "SCT", "Lung")  # CID 4


@dataclass(frozen=True, slots=True)
class Structure:
    """What a segment shows.

    Attributes:
        label: for people.
        group: what it is one of: ``"lungs"`` or ``"lesions"``.
        category: of CID 7150.
        kind: the property itself.
        region: where it lies; None where ``kind`` says so already.
        colour: red, green, blue in 0..255, apart for every colour vision (Okabe and Ito's palette).
    """

    label: str
    group: str
    category: Code
    kind: Code
    region: Code | None
    colour: tuple[int, int, int]


STRUCTURES: Mapping[str, Structure] = {
    "right_lung": Structure("Right lung", "lungs", _ANATOMY, ("3341006", "SCT", "Right lung"), None, (86, 180, 233)),
    "left_lung": Structure("Left lung", "lungs", _ANATOMY, ("44029006", "SCT", "Left lung"), None, (0, 158, 115)),
    # CID 6104 of the standard has a code of its own for ground glass; the SNOMED CT code 50196008 that is sometimes
    # taken for it is perialveolar fibrosis
    "ground_glass_opacity": Structure(
        "Ground-glass opacity", "lesions", _ABNORMAL, ("112120", "DCM", "Ground glass opacity"), _LUNG, (213, 94, 0)
    ),
    "consolidation": Structure(
        "Consolidation", "lesions", _ABNORMAL, ("95436008", "SCT", "Lung consolidation"), _LUNG, (240, 228, 66)
    ),
    "lesion": Structure("Lesion", "lesions", _ABNORMAL, ("52988006", "SCT", "Lesion"), _LUNG, (213, 94, 0)),
}
"""Name of a mask's value (:data:`covidct.labels.LUNGS`, :data:`covidct.labels.LESIONS`, ``"lesion"`` of a detector that
tells no types apart) to its segment."""

CLASS_CODES: Mapping[str, Code] = {
    "normal": ("17621005", "SCT", "Normal"),
    "cap": ("385093006", "SCT", "Community acquired pneumonia"),
    "pneumonia": ("233604007", "SCT", "Pneumonia"),
    "covid": ("840539006", "SCT", "COVID-19"),
}
"""Class name to its code; the others, such as ``"non_covid"``, are no findings that a terminology knows."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What made a mask or a probability.

    Attributes:
        name: in words, at most 64 characters.
        source: ``"threshold"``, ``"lung_field"`` or ``"checkpoint:<sha256>"``, as in
            :attr:`covidct.result.ScanResult.mask_source`.
    """

    name: str
    source: str

    @property
    def version(self) -> str:
        """Release of the library."""
        return covidct.__version__

    @property
    def weights(self) -> str:
        """SHA-256 of the weights, empty where there are none."""
        return self.source.removeprefix("checkpoint:") if self.source.startswith("checkpoint:") else ""

    @property
    def parameters(self) -> dict[str, str]:
        """What it was run with, name to value."""
        return {"weights_sha256": self.weights} if self.weights else {"method": self.source or "unknown"}


def class_code(name: str) -> Code:
    """Code of a class; of the project's own scheme where no terminology has one."""
    return CLASS_CODES.get(name, (name.upper()[:16], OWN_SCHEME, name.replace("_", " ")[:64]))


def equipment(algorithm: Algorithm) -> dict[str, Any]:
    """Arguments of every object about the software that made it (PS3.3 C.7.5.2 wants all of them in a segmentation).

    Args:
        algorithm: that did the work; its weights are the serial number.
    """
    return {
        "manufacturer": MAKER,
        "manufacturer_model_name": "covidct",
        "software_versions": covidct.__version__,
        "device_serial_number": algorithm.weights or "no weights",
    }


def new_uid() -> str:
    """A unique identifier that nothing has yet, for a series or an instance."""
    from pydicom.uid import generate_uid

    return str(generate_uid())


def require_highdicom() -> None:
    """Refuse to go on without the extra.

    Raises:
        UsageError: when highdicom is not installed.
    """
    from importlib.util import find_spec

    if find_spec("highdicom") is None:
        raise UsageError(
            "DICOM objects are written with highdicom, which is not installed: pip install 'covidct[dicom]'."
        )


def titled(what: str) -> str:
    """A description with the note on research: what a list of series shows before anything is opened.

    Args:
        what: of the object; 34 characters at most, so that the whole has no more than 64 (PS3.5, VR LO).
    """
    return f"{what[:34]}. {RESEARCH_USE}"
