"""``segment_lesions``: the lesions of one scan or slice, measured by type, and pictures of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from covidct.errors import UsageError
from covidct.functional import lesion_table, window_hu
from covidct.inference.attention import shown_slices
from covidct.inference.segment import lungs_if_any
from covidct.result import LesionBox, LesionPreview
from covidct.volume import LUNG_WINDOW, Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.functional import LesionMeasures
    from covidct.inference.segment import LungSegmentation
    from covidct.models import LesionSegmenter, LungSegmenter
    from covidct.models.lesion_map import SliceDetections
    from covidct.result import ScanResult
    from covidct.volume import Finding, Volume

__all__ = ("LesionSegmentation", "display_slices", "lesion_boxes", "lesion_preview", "segment_lesions", "with_lesions")

_ROWS = {"both": None, "ggo": ("ground_glass_opacity",), "merge": ("all",)}  # rows of the table that mean something
_SHOWN = 6  # slices of a scan in its report: a row that is read at a glance
_WIDEST = 384  # pixels of the longer side: a finer slice makes the page larger, not easier to read


@dataclass(frozen=True, slots=True)
class LesionSegmentation:
    """Lesions and what they measure.

    Attributes:
        mask: (D, H, W) of a volume, (H, W) of an image, uint8 on its own grid: 0 none, 1 ground-glass opacity,
            2 consolidation; 1 is any lesion where the network does not tell types apart.
        detections: of each slice, feet to head.
        rows: the lesion table: ground-glass opacity, consolidation and all, of which a network of one class has one.
        class_names: background and the classes of the detections, index = label.
        lesion_source: ``"checkpoint:<sha256>"`` of the network.
        lung_source: where the lung mask of the shares is from: ``"threshold"``, ``"checkpoint:<sha256>"``, ``"file"``;
            empty when there is none.
        findings: what was assumed.
    """

    mask: NDArray[np.uint8]
    detections: tuple[SliceDetections, ...]
    rows: tuple[LesionMeasures, ...]
    class_names: tuple[str, ...]
    lesion_source: str
    lung_source: str
    findings: tuple[Finding, ...] = ()


def segment_lesions(
    scan: Volume | Image,
    *,
    segmenter: LesionSegmenter,
    lungs: LungSegmentation | LungSegmenter | NDArray[np.uint8] | None = None,
) -> LesionSegmentation:
    """Find the lesions of a scan or a picture, and measure them.

    Args:
        scan: a CT volume, or a single slice in display values.
        segmenter: the lesion network.
        lungs: the lungs where they are known, as a result or (D, H, W) labels, or the network to find them with; None:
            the classical mask, where the scan is in Hounsfield units of known spacing. Where there are no lungs to be
            found, the table goes without shares, sides and distances.

    Returns:
        The lesion mask, uint8 on the scan's own grid, the detections of each slice and the lesion table.

    Raises:
        InputError: when the scan does not suit the network.
        UsageError: when the lesion network was trained on slices masked by another lung network.
    """
    known, source = _lungs(scan, lungs)
    record = segmenter.preprocessing
    bound = record.masking != "original" and record.mask_source.startswith("checkpoint:")
    if bound and source != record.mask_source:
        raise UsageError(
            f"The lesion network was trained with lung masks of the network of sha256 "
            f"{record.mask_source.partition(':')[2]}: give its checkpoint too (--lung-checkpoint)."
        )
    found = segmenter(scan, lung_mask=known)
    rows = lesion_table(
        found.mask[None] if found.mask.ndim == 2 else found.mask,
        lung_mask=known,
        hu=None if isinstance(scan, Image) or scan.intensity != "hu" else scan.array,
        spacing=scan.spacing,
    )
    wanted = _ROWS[found.mask_type]
    kept = tuple(row for row in rows if wanted is None or row.lesion in wanted)
    return LesionSegmentation(
        found.mask, found.detections, kept, segmenter.class_names, segmenter.mask_source, source, found.findings
    )


def _lungs(
    scan: Volume | Image, lungs: LungSegmentation | LungSegmenter | NDArray[np.uint8] | None
) -> tuple[NDArray[np.uint8] | None, str]:
    """The lung mask, and where it is from."""
    if isinstance(lungs, np.ndarray):
        return lungs, "file"
    if isinstance(scan, Image):
        return None, ""
    from covidct.inference.segment import LungSegmentation

    found = lungs if isinstance(lungs, LungSegmentation) else lungs_if_any(scan, segmenter=lungs)
    return (None, "") if found is None else (found.mask, found.mask_source)


def with_lesions(
    result: ScanResult,
    scan: Volume,
    *,
    segmenter: LesionSegmenter,
    lungs: LungSegmentation | LungSegmenter | None,
) -> tuple[ScanResult, LesionSegmentation]:
    """The result of a scan with its lesions, and the lesions themselves.

    Args:
        result: of the scan.
        scan: the scan.
        segmenter: as in :func:`segment_lesions`.
        lungs: as in :func:`segment_lesions`.
    """
    found = segment_lesions(scan, segmenter=segmenter, lungs=lungs)
    preview = lesion_preview(scan, found, window=segmenter.preprocessing.window)
    rows = tuple(row.to_dict() for row in found.rows)
    return replace(result, lesions=rows, lesion_source=found.lesion_source, lesion_preview=preview), found


def lesion_boxes(found: SliceDetections) -> tuple[LesionBox, ...]:
    """The detections of a slice as plain data."""
    rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    return tuple(LesionBox((x0, y0, x1, y1), label, score) for (x0, y0, x1, y1), label, score in rows)


def display_slices(
    scan: Volume | Image, indices: Sequence[int], *, window: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Slices as a person sees them.

    Args:
        scan: the scan, or a picture as its only slice.
        indices: of the slices.
        window: (low, high) in HU that becomes black to white; None: -1250 to 250.

    Returns:
        (n, H, W) uint8 on the scan's own grid.
    """
    if isinstance(scan, Image):
        grey = scan.array if scan.array.ndim == 2 else cv2.cvtColor(scan.array, cv2.COLOR_RGB2GRAY)
        planes = grey[None][list(indices)]
    else:
        planes = scan.array[list(indices)]
        if scan.intensity == "hu":
            planes = window_hu(planes, *(window or LUNG_WINDOW))
    return np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8)


def lesion_preview(
    scan: Volume | Image,
    found: LesionSegmentation,
    *,
    window: tuple[float, float] | None = None,
    widest: Literal["page", "own"] = "page",
) -> LesionPreview | None:
    """Pictures of the lesions: at most six slices, evenly spread over those with lesions, the one of most among them.

    Args:
        scan: the scan or the picture.
        found: its lesions.
        window: as in :func:`display_slices`.
        widest: ``"page"``: the longer side has at most 384 pixels; ``"own"``: the scan's own pixels.

    Returns:
        The pictures; None where nothing was found.
    """
    mask = found.mask if found.mask.ndim == 3 else found.mask[None]
    area = np.array([np.count_nonzero(plane) for plane in mask], np.float64)
    if not area.any():
        return None
    indices = shown_slices(np.where(area > 0, area, np.nan).tolist(), count=_SHOWN)
    slices, labels = display_slices(scan, indices, window=window), mask[indices]
    boxes = tuple(lesion_boxes(found.detections[index]) for index in indices)
    factor = 1.0 if widest == "own" else min(1.0, _WIDEST / max(slices.shape[1:]))
    if factor < 1:
        size = (round(slices.shape[2] * factor), round(slices.shape[1] * factor))
        slices = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in slices])
        labels = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST_EXACT) for plane in labels])
        boxes = tuple(tuple(_scaled(box, factor) for box in own) for own in boxes)
    return LesionPreview(slices, labels, boxes, tuple(indices), found.class_names)


def _scaled(box: LesionBox, factor: float) -> LesionBox:
    """A box on a picture of another size."""
    x0, y0, x1, y1 = (factor * edge for edge in box.box)
    return LesionBox((x0, y0, x1, y1), box.label, box.score)
