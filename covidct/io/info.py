"""``SeriesInfo``: what is known of a scan from its headers alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covidct.volume import Finding

__all__ = ("SeriesInfo",)


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """One scan that was found in a file or folder; no pixel was decoded for it.

    Attributes:
        uid: SeriesInstanceUID of DICOM (what ``read_scan(series=)`` takes), empty for other formats.
        format: ``"dicom"``, ``"nifti"``, ``"nrrd"``, ``"metaimage"`` or ``"raster"``.
        modality: DICOM modality, empty when the file does not say.
        shape: (slices, rows, columns) as stored.
        spacing: mm between (slices, rows, columns), NaN where unknown.
        files: the files of this scan; not part of the ``repr`` or of :meth:`to_dict`, since names may identify.
        findings: what is odd; ``action`` tells what ``read_scan`` does about it when nothing else is asked for.
        thickness: nominal slice thickness in mm (the thickest slice's), NaN where the header does not say; it may be
            more than the distance of the slices, or less.
        contrast: whether a contrast agent was given, None where the header does not say.
        contrast_basis: keyword of the DICOM element that says so, empty where none does.
        kernel: reconstruction kernel, empty where the header does not say.
        scanner: manufacturer and model, empty where the header does not say.
        acquired: year and month of the acquisition (``"2020-03"``), for counts over a cohort; not part of the ``repr``
            or of :meth:`to_dict`. The day is not kept, since it helps to identify a patient.
    """

    uid: str
    format: str
    modality: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    files: tuple[Path, ...] = field(default=(), repr=False)
    findings: tuple[Finding, ...] = ()
    thickness: float = float("nan")
    contrast: bool | None = None
    contrast_basis: str = ""
    kernel: str = ""
    scanner: str = ""
    acquired: str = field(default="", repr=False)

    @property
    def file_count(self) -> int:
        """Number of files of this scan."""
        return len(self.files)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without file names; what is unknown is None."""
        return {
            "uid": self.uid,
            "format": self.format,
            "modality": self.modality,
            "shape": list(self.shape),
            "spacing": [None if s != s else round(s, 6) for s in self.spacing],
            "thickness": None if self.thickness != self.thickness else round(self.thickness, 6),
            "contrast": self.contrast,
            "contrast_basis": self.contrast_basis,
            "kernel": self.kernel,
            "scanner": self.scanner,
            "files": self.file_count,
            "findings": [{"code": f.code, "message": f.message, "action": f.action} for f in self.findings],
        }
