"""Lesions on the page of a scan: slices with masks, boxes and scores, and the lesion table."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.explain.lesions import LESION_COLOURS, LESION_OPACITY, lesion_title, lesion_word
from covidct.functional.lung_periphery import PERIPHERAL_MM
from covidct.report.pictures import data_uri, slice_uri
from covidct.report.words import figure, mask_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.result import LesionBox, LesionPreview, ScanResult

__all__ = ("LesionPicture", "LesionRow", "LesionTag", "LesionView", "lesion_view", "region_view")

_WIDEST = 384  # pixels of the longer side of a picture
_SHOWN = 6  # pictures on the page: a row or two that are read at a glance
_LETTERS = 0.036  # height of a label's letters in widths of the slice
_WIDE = 0.62  # mean width of a letter of a bold sans-serif face in heights; the browser stretches the text to fit
_GAPS = {
    "spacing": "the spacing of the scan is unknown, so there are no millilitres and no distance to the lung surface",
    "thickness": "the slice has no known thickness, so there are no millilitres",
    "lung_mask": "there is no lung mask, so there is no share of a lung, no side and no periphery",
    "sides": "the lung mask does not tell right from left",
    "hu": "the scan is not in Hounsfield units, so there is no mean",
}


@dataclass(frozen=True, slots=True)
class LesionTag:
    """A box and its label in pixels of the slice, ready for SVG.

    Attributes:
        x: left edge of the box.
        y: top edge of the box.
        width: of the box.
        height: of the box.
        text: class and score.
        colour: of box and label.
        left: left edge of the label, so that it stays on the picture.
        top: top edge of the label: above the box where there is room, else inside.
        across: width of the label.
        tall: height of the label.
        letters: size of its letters.
    """

    x: float
    y: float
    width: float
    height: float
    text: str
    colour: str
    left: float
    top: float
    across: float
    tall: float
    letters: float


@dataclass(frozen=True, slots=True)
class LesionPicture:
    """One slice with its lesions.

    Attributes:
        index: of the slice in the scan.
        width: of the slice in pixels, the unit of the boxes.
        height: of the slice in pixels.
        image: data URI of the grey slice.
        lesions: data URI of the masks in colour, transparent elsewhere; empty without any.
        tags: boxes with their labels, the best last.
        words: what stands below it.
    """

    index: int
    width: int
    height: int
    image: str
    lesions: str
    tags: Sequence[LesionTag]
    words: str


@dataclass(frozen=True, slots=True)
class LesionRow:
    """One row of the table: its title and its cells as text, a dash where nothing is known."""

    title: str
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class LesionView:
    """What a page shows of lesions.

    Attributes:
        pictures: at most six slices.
        legend: class and colour of what the pictures can show.
        boxes: whether any picture has a box.
        rows: of the table.
        gaps: a sentence on the dashes of the table; empty without any.
        even: share of the lungs near their surface as text, what an even spread would give; empty where unknown.
        near: "20 mm", what counts as near.
        source: what found the lesions, with the sha256 of its checkpoint.
    """

    pictures: Sequence[LesionPicture]
    legend: Sequence[tuple[str, str]]
    boxes: bool
    rows: Sequence[LesionRow]
    gaps: str
    even: str
    near: str
    source: str


def lesion_view(scan: ScanResult) -> LesionView | None:
    """Prepare the lesions of a scan for a template; None where none were looked for."""
    return _view(scan, scan.lesion_preview) if scan.lesions or scan.lesion_preview or scan.lesion_source else None


def region_view(scan: ScanResult) -> LesionView | None:
    """Prepare the ranked regions of a scan for a template, pictures without a table; None where there are none."""
    return None if scan.region_preview is None else _view(replace(scan, lesions=()), scan.region_preview)


def _view(scan: ScanResult, preview: LesionPreview | None) -> LesionView:
    """Pictures and table."""
    pictures = [] if preview is None else _pictures(preview)
    names = () if preview is None else preview.names[1:]
    rows = [LesionRow(_row_title(str(row["lesion"])), _cells(row)) for row in scan.lesions]
    even = next((row.get("lungs_peripheral_percent") for row in scan.lesions), None)
    return LesionView(
        pictures=pictures,
        legend=[(lesion_title(name), _css(label)) for label, name in enumerate(names, 1)],
        boxes=any(picture.tags for picture in pictures),
        rows=rows,
        gaps=_gaps(scan.lesions, dashes=any(cell == figure(None) for row in rows for cell in row.cells)),
        even="" if even is None or not math.isfinite(even) else f"{even:.0f} %",
        near=f"{PERIPHERAL_MM:g} mm",
        source=mask_words(scan.lesion_source),
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    """Objects, millilitres, percent of right, left and both lungs, side, percent at the periphery, mean HU."""
    return [
        str(row["objects"]),
        figure(row["volume_ml"], 1),
        *(figure(row[f"{part}_percent"], 1) for part in ("right", "left", "lungs")),
        row["side"] or figure(None),
        figure(row["peripheral_percent"], 0),
        figure(row["mean_hu"], 0).replace("-", "\N{MINUS SIGN}"),
    ]


def _row_title(name: str) -> str:
    """A row in words."""
    return "All lesions" if name == "all" else lesion_title(name)


def _gaps(rows: Sequence[Mapping[str, Any]], *, dashes: bool) -> str:
    """Why there are dashes."""
    if not dashes:
        return ""
    unknown = dict.fromkeys(code for row in rows for code in row["unknown"])
    reasons = [_GAPS.get(code, code) for code in unknown] or ["there is nothing to measure"]
    return f"Where a dash stands: {'; '.join(reasons)}."


def _pictures(preview: LesionPreview) -> list[LesionPicture]:
    """At most six of the slices, evenly spread, feet to head."""
    count = len(preview.slices)
    shown = min(_SHOWN, count)
    return [_picture(preview, (2 * number + 1) * count // (2 * shown)) for number in range(shown)]


def _picture(preview: LesionPreview, number: int) -> LesionPicture:
    """Encode one slice with its lesions."""
    image, labels = preview.slices[number], preview.labels[number]
    height, width = image.shape
    found = sorted(preview.boxes[number], key=lambda one: one.score) if preview.boxes else []
    return LesionPicture(
        index=int(preview.indices[number]),
        width=width,
        height=height,
        image=slice_uri(image, widest=_WIDEST),
        lesions=data_uri(_colours(labels)) if labels.any() else "",
        tags=[_tag(one, preview.names, (height, width)) for one in found],
        words=preview.words[number] if preview.words else f"slice {int(preview.indices[number])}",
    )


def _colours(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Masks (H, W) as BGRA pixels, in the colours of the slides."""
    palette = np.zeros((256, 4), np.uint8)
    for label, (red, green, blue) in enumerate(LESION_COLOURS, 1):
        palette[label] = (blue, green, red, round(255 * LESION_OPACITY))
    return palette[labels]


def _tag(one: LesionBox, names: Sequence[str], size: tuple[int, int]) -> LesionTag:
    """Lay out a box and its label on a slice of ``size`` (H, W)."""
    height, width = size
    x0, y0, x1, y1 = one.box
    text = f"{lesion_word(names[one.label])} {one.score:.2f}"
    letters = _LETTERS * width
    tall, across = 1.25 * letters, _WIDE * letters * (len(text) + 0.8)
    return LesionTag(
        x=round(x0, 1),
        y=round(y0, 1),
        width=round(x1 - x0, 1),
        height=round(y1 - y0, 1),
        text=text,
        colour=_css(one.label),
        left=round(max(0.0, min(x0, width - across)), 1),
        top=round(max(0.0, min(y0 - tall if y0 >= tall else y0, height - tall)), 1),
        across=round(across, 1),
        tall=round(tall, 1),
        letters=round(letters, 1),
    )


def _css(label: int) -> str:
    """The colour of a class as CSS."""
    red, green, blue = LESION_COLOURS[(label - 1) % len(LESION_COLOURS)]
    return f"#{red:02x}{green:02x}{blue:02x}"
