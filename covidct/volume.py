"""``Volume`` and ``Image``: voxels with the geometry that makes them a patient. numpy only.

The canonical grid is LPS: array axes (depth, height, width) run towards the patient's head, back and left, as
radiologists view axial slices. The affine maps *voxel index in the order (width, height, depth)* to LPS millimetres.
The affine is the only place where geometry is kept; spacing is read from it, so that the two cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct.errors import InputError

if TYPE_CHECKING:
    from typing import Any, Self

    from numpy.typing import NDArray

__all__ = ("LUNG_WINDOW", "Finding", "Image", "Intensity", "Source", "Volume", "unknown_affine")

Intensity = Literal["hu", "unit"]

LUNG_WINDOW = (-1250.0, 250.0)
"""Low and high in HU that become black and white unless told otherwise: that of COVNet's published data set code."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd in an input, and what was done about it.

    Attributes:
        code: stable machine-readable name, such as ``"missing_slices"``.
        message: one plain sentence with the numbers.
        action: what became of it: ``"refused"``, ``"repaired"``, ``"dropped"``, ``"sorted"`` or ``"recorded"``.
    """

    code: str
    message: str
    action: Literal["refused", "repaired", "dropped", "sorted", "recorded"] = "recorded"


@dataclass(frozen=True, slots=True)
class Source:
    """The grid a volume was read from, enough to write results back on it.

    Attributes:
        format: ``"dicom"``, ``"nifti"``, ``"nrrd"``, ``"metaimage"``, ``"raster"`` or ``"array"``.
        shape: voxels of the source array along (k, j, i), i being the fastest axis on disk.
        affine: (4, 4) float64, source voxel (i, j, k) to LPS mm. May be sheared (gantry tilt).
    """

    format: str
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Volume:
    """A scan on the canonical LPS grid.

    Attributes:
        array: (D, H, W), int16 or float32; Hounsfield units when ``intensity`` is ``"hu"``, [0, 1] when ``"unit"``.
        affine: (4, 4) float64, voxel (w, h, d) to LPS mm; NaN on the diagonal where the geometry is unknown.
        modality: DICOM modality (``"CT"``), empty when the file does not say.
        intensity: ``"hu"`` or ``"unit"``.
        findings: what was odd and what was done.
        source: where it came from; None for volumes made in memory.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    modality: str = "CT"
    intensity: Intensity = "hu"
    findings: tuple[Finding, ...] = ()
    source: Source | None = None

    def __post_init__(self) -> None:
        """Check the form of array and affine."""
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise InputError(f"A volume needs a non-empty (D, H, W) array, this one has shape {self.array.shape}.")
        if self.affine.shape != (4, 4):
            raise InputError(f"A volume needs a (4, 4) affine, this one has shape {self.affine.shape}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (depth, height, width)."""
        depth, height, width = self.array.shape
        return depth, height, width

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along (depth, height, width) in mm; NaN where unknown."""
        w, h, d = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return d, h, w

    def require_hu(self, purpose: str) -> None:
        """Refuse a volume whose values are not Hounsfield units.

        Args:
            purpose: what needs them, for the message ("Lung segmentation").

        Raises:
            InputError: when ``intensity`` is not ``"hu"``.
        """
        if self.intensity != "hu":
            raise InputError(
                f"{purpose} needs Hounsfield units, but this volume holds display values in [0, 1]: "
                "give the original DICOM or NIfTI scan."
            )

    def require_spacing(self, purpose: str) -> None:
        """Refuse a volume of unknown geometry.

        Args:
            purpose: what needs millimetres, for the message.

        Raises:
            InputError: when a spacing is not a positive number.
        """
        if not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise InputError(
                f"{purpose} works in millimetres, but the voxel spacing of this volume is unknown: "
                "give the original DICOM or NIfTI scan."
            )

    def with_findings(self, *findings: Finding) -> Self:
        """Return a copy with further findings at the end."""
        return replace(self, findings=(*self.findings, *findings))


@dataclass(frozen=True, slots=True)
class Image:
    """A 2-D image: a chest X-ray or a single slice.

    Attributes:
        array: (H, W) or (H, W, 3) float32 in [0, 1], dense bright (MONOCHROME2 sense).
        spacing: (height, width) in mm per pixel, NaN where unknown.
        modality: DICOM modality (``"DX"``, ``"CR"``, ``"CT"``), empty when the file does not say.
        steps: the grey-value steps that were applied, in order, for the record.
        findings: what was odd and what was done.
    """

    array: NDArray[np.float32]
    spacing: tuple[float, float] = (float("nan"), float("nan"))
    modality: str = ""
    steps: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def unknown_affine() -> NDArray[np.float64]:
    """The affine of a volume whose geometry nobody wrote down: (4, 4), NaN spacing on a canonical grid."""
    return np.diag([np.nan, np.nan, np.nan, 1.0])
