"""``ScanResult`` and ``CohortResult``: plain data that inference makes and reports show."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from covidct.labels import LESION_CLASSES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covidct.volume import Finding

__all__ = (
    "AttentionMontage",
    "CoarseMaps",
    "CohortResult",
    "LesionBox",
    "LesionPreview",
    "Preview",
    "ScanResult",
    "Viewer",
)

_HEAVY = ("preview", "montage", "lesion_preview", "region_preview", "viewer", "contents")  # not part of the JSON


@dataclass(frozen=True, slots=True)
class Preview:
    """What the report page shows of a scan, small enough to embed.

    Attributes:
        slices: (n, H, W) uint8, windowed axial slices.
        lung_mask: (n, H, W) uint8, 0 background, 1 right, 2 left.
        weights: (n, h, w) float32 pooling weights of these slices, each summing to one; None when there are none.
        indices: index of each shown slice in the volume the network saw.
        cam: (n, h, w) float32 Grad-CAM of these slices, 1 = the largest value on training scans of the class; None when
            there is none.
        cam_class: the class that ``cam`` explains. With a class but no ``cam``, the checkpoint has no fixed scale.
        words: what to write below each slice, where it is not its number in the volume.
    """

    slices: NDArray[np.uint8]
    lung_mask: NDArray[np.uint8]
    weights: NDArray[np.float32] | None
    indices: tuple[int, ...]
    cam: NDArray[np.float32] | None = None
    cam_class: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttentionMontage:
    """Slices beside what slice attention leaves of them, small enough to embed.

    Attributes:
        slices: (n, H, W) uint8, windowed axial slices.
        faded: (n, H, W) uint8, the same after :func:`covidct.explain.fade` over all slices of the scan.
        indices: index of each shown slice in the volume the network saw.
    """

    slices: NDArray[np.uint8]
    faded: NDArray[np.uint8]
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LesionBox:
    """A lesion that was detected in a slice.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the slice it is shown on, the maximum exclusive.
        label: its class, an index of :attr:`LesionPreview.names`.
        score: of the detection, in [0, 1].
    """

    box: tuple[float, float, float, float]
    label: int
    score: float


@dataclass(frozen=True, slots=True)
class LesionPreview:
    """Slices with the lesions found in them, small enough to embed.

    Attributes:
        slices: (n, H, W) uint8, windowed axial slices.
        labels: (n, H, W) uint8, 0 none, else the class of each pixel, an index of ``names``.
        boxes: the detections of each slice; empty when the lesions are known as a mask alone.
        indices: index of each shown slice in the scan.
        names: class names, index = label.
        words: what to write below each slice, where it is not its number in the scan.
    """

    slices: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    boxes: tuple[tuple[LesionBox, ...], ...]
    indices: tuple[int, ...]
    names: tuple[str, ...] = LESION_CLASSES["both"]
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CoarseMaps:
    """Maps of a network over the slices of a scan, in its own cells.

    Attributes:
        values: (D, h, w) uint8, 255 = the full scale, a map per slice of the scan.
        known: (D,) bool, False where the network has no map of a slice.
        box: x0, y0, x1, y1 of the maps in shares of the slice's width and height; may reach beyond it.
    """

    values: NDArray[np.uint8]
    known: NDArray[np.bool]
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Every slice of a scan with what lies over it, compressed for a page.

    Attributes:
        slices: a JPEG per slice, feet to head, grey.
        size: (H, W) pixels of these pictures.
        source: (H, W) pixels of the scan's slices.
        quality: of the JPEGs, in [1, 100].
        aspect: width over height of a slice in mm; of its pixels where the spacing is unknown.
        step: distance of the slices in mm, NaN where unknown.
        knots: (HU, grey) of the piecewise-linear map that gave the greys, both rising; empty for display values.
        lungs: a PNG (H, W) per slice, grey = label: 0 none, 1 right, 2 left; empty bytes where a slice has none; empty
            without a lung mask.
        lesions: as ``lungs``, of the classes of ``lesion_names``; empty where no lesions were looked for.
        lesion_names: class names of ``lesions``, index = label.
        cam: Grad-CAM in its fixed scale; None without.
        cam_class: the class that ``cam`` explains.
        weights: pooling weights, 255 = the heaviest of the scan; None without.
        places: the slice of the scan nearest to each slice that the network saw; empty where they are the same.
        start: the slice to begin with.
    """

    slices: tuple[bytes, ...]
    size: tuple[int, int]
    source: tuple[int, int]
    quality: int
    aspect: float = 1.0
    step: float = float("nan")
    knots: tuple[tuple[float, int], ...] = ()
    lungs: tuple[bytes, ...] = ()
    lesions: tuple[bytes, ...] = ()
    lesion_names: tuple[str, ...] = LESION_CLASSES["both"]
    cam: CoarseMaps | None = None
    cam_class: str = ""
    weights: CoarseMaps | None = None
    places: tuple[int, ...] = ()
    start: int = 0


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What is known of one input after inference; free of patient identity.

    Attributes:
        id: pseudonym of the input.
        status: ``"done"`` or ``"failed"``.
        probabilities: class name to probability; empty when failed.
        predicted: the most probable class; empty when failed.
        error: the sentence that says why it failed; empty when done.
        findings: what was odd in the input and what was done.
        geometry: shape, spacing (mm) and kind of the source grid.
        lungs_ml: volume of the right and the left lung in millilitres.
        mask_source: where the lung mask is from: ``"threshold"``, ``"lung_field"``, ``"checkpoint:<sha256>"`` of a lung
            network, ``"file"``; ``"none"`` or empty when there is none.
        slice_scores: score of the predicted class's slices along the body axis, feet to head; empty when the network
            has none.
        attention: share of each slice in the diagnosis, feet to head, summing to one over the real slices, NaN on
            others; empty when the network has no slice attention. A share is no probability of the slice.
        positive_slices: indices of the slices called positive, see :func:`covidct.metrics.slice_decisions`; empty
            unless the last class is predicted by a network with slice attention.
        slice_note: why there is no slice attention, where the network could have been built with it.
        lesions: rows of the lesion table, each from :meth:`covidct.functional.LesionMeasures.to_dict`; empty when no
            lesions were looked for.
        lesion_source: where the lesions are from: ``"checkpoint:<sha256>"`` of a lesion network, ``"file"``; empty when
            no lesions were looked for.
        regions: what a classifier of ranked regions saw in the slices that its diagnosis rests on, slice by slice and
            the best first: ``slice``, ``rank`` from 1, ``type``, ``score`` in [0, 1] and ``box`` (x0, y0, x1, y1 in
            pixels of the scan's slice); empty for other networks.
        seconds: time per step.
        label: the true class when the manifest gives it, else empty.
        files: names of what was written beside the record (masks, DICOM objects), in the folder of the cohort.
        preview: pictures for the report, not part of the JSON.
        montage: slice attention in pictures, not part of the JSON.
        lesion_preview: lesions in pictures, not part of the JSON.
        region_preview: the best regions in pictures, not part of the JSON.
        viewer: every slice in pictures, not part of the JSON.
        contents: bytes of each of ``files``, not part of the JSON; DICOM objects among them name the patient.
    """

    id: str
    status: Literal["done", "failed"]
    probabilities: dict[str, float] = field(default_factory=dict)
    predicted: str = ""
    error: str = ""
    findings: tuple[Finding, ...] = ()
    geometry: dict[str, Any] = field(default_factory=dict)
    lungs_ml: dict[str, float] = field(default_factory=dict)
    mask_source: str = ""
    slice_scores: tuple[float, ...] = ()
    attention: tuple[float, ...] = ()
    positive_slices: tuple[int, ...] = ()
    slice_note: str = ""
    lesions: tuple[dict[str, Any], ...] = ()
    lesion_source: str = ""
    regions: tuple[dict[str, Any], ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    label: str = ""
    files: tuple[str, ...] = ()
    preview: Preview | None = None
    montage: AttentionMontage | None = None
    lesion_preview: LesionPreview | None = None
    region_preview: LesionPreview | None = None
    viewer: Viewer | None = None
    contents: dict[str, bytes] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without pictures and files."""
        bare = replace(  # no pixel is copied
            self, preview=None, montage=None, lesion_preview=None, region_preview=None, viewer=None, contents={}
        )
        return {key: value for key, value in asdict(bare).items() if key not in _HEAVY}


@dataclass(frozen=True, slots=True)
class CohortResult:
    """The results of one run over many inputs.

    Attributes:
        scans: one result per input, in the order given.
        run: what made them: versions, checkpoint hash, pre-processing, command, start time, device.
    """

    scans: tuple[ScanResult, ...]
    run: dict[str, Any] = field(default_factory=dict)
