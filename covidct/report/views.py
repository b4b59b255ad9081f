"""What the pages show of a scan, shared by all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from covidct.report.pictures import pictures, thumbnail
from covidct.report.words import class_colour, class_title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from covidct.report.pictures import Picture
    from covidct.result import ScanResult

__all__ = ("Bar", "ScanView", "scan_view")


@dataclass(frozen=True, slots=True)
class Bar:
    """One class's probability."""

    name: str
    title: str
    value: float
    colour: str
    predicted: bool


@dataclass(frozen=True, slots=True)
class ScanView:
    """A scan with its bars, pictures and thumbnail.

    Attributes:
        scan: the result itself.
        bars: probabilities in label order.
        truth: colour of the true class, empty without a label.
        confidence: probability of the predicted class, NaN when failed.
        right: whether the prediction is the label; None without a label or a prediction.
        pictures: slices.
        thumbnail: data URI, empty without a preview.
        flat: whether it is a single image, an X-ray.
    """

    scan: ScanResult
    bars: Sequence[Bar]
    truth: str
    confidence: float
    right: bool | None
    pictures: Sequence[Picture]
    thumbnail: str
    flat: bool


def scan_view(scan: ScanResult, *, slices: int | None = 0, small: bool = False) -> ScanView:
    """Prepare a scan for a template.

    Args:
        scan: the result.
        slices: how many slices to show; None shows all of the preview.
        small: make a thumbnail.
    """
    bars = [
        Bar(name, class_title(name), value, class_colour(name, index), name == scan.predicted)
        for index, (name, value) in enumerate(scan.probabilities.items())
    ]
    known = bool(scan.label and scan.predicted)
    preview = scan.preview if scan.preview is not None and len(scan.preview.slices) else None
    return ScanView(
        scan=scan,
        bars=bars,
        truth=next((bar.colour for bar in bars if bar.name == scan.label), ""),
        confidence=scan.probabilities.get(scan.predicted, float("nan")),
        right=scan.label == scan.predicted if known else None,
        pictures=pictures(preview, limit=slices) if preview is not None and slices != 0 else [],
        thumbnail=thumbnail(preview) if preview is not None and small else "",
        flat=len(scan.geometry.get("shape", ())) == 2,
    )
