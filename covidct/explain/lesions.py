"""Lesions on grey slices: masks in colour, boxes, classes and scores. numpy and OpenCV only.

The colours are those of the slides of COVID-CT-Mask-Net (section 5.1) and of its published code: ground-glass opacity
red, consolidation blue; the only class of the other mask types red.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from covidct.errors import UsageError
from covidct.labels import LESION_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from covidct.result import LesionBox

__all__ = (
    "LESION_COLOURS",
    "LESION_OPACITY",
    "SAFE_LESION_COLOURS",
    "lesion_figure",
    "lesion_overlay",
    "lesion_title",
    "lesion_word",
)

Colours = tuple[tuple[int, int, int], ...]

LESION_COLOURS: Colours = ((255, 0, 0), (0, 0, 255))
"""Red, green, blue of label 1 and label 2 (slides, section 5.1)."""

SAFE_LESION_COLOURS: Colours = ((213, 94, 0), (86, 180, 233))
"""Vermilion and sky blue of Okabe and Ito's palette: apart for every colour vision, and bright on dark lungs."""

LESION_OPACITY = 0.4
"""Opacity of a mask (recommendation): the texture of the lesion stays readable."""

_READABLE = 384  # pixels of the shorter side from which a label in letters of 9 pixels is no hindrance
_WORDS = {"ground_glass_opacity": "GGO", "consolidation": "C", "lesion": "Lesion"}
_TITLES = {"ground_glass_opacity": "Ground-glass opacity", "consolidation": "Consolidation", "lesion": "Lesion"}
_BRIGHT = 140  # luma (ITU-R BT.601) of a colour from which black letters are read better than white
_PANEL = 3.2  # inches per slice of a figure: labels of 9 pixels stay readable


def lesion_word(name: str) -> str:
    """A class as it stands on a picture: ``"GGO"``, ``"C"``, ``"Lesion"``; others keep their name."""
    return _WORDS.get(name, name)


def lesion_title(name: str) -> str:
    """A class in full, as in ``"Ground-glass opacity"``; others keep their name."""
    return _TITLES.get(name, name)


def lesion_overlay(
    image: NDArray[Any],
    lesion_mask: NDArray[Any],
    *,
    boxes: Sequence[LesionBox] = (),
    names: Sequence[str] = LESION_CLASSES["both"],
    colours: Colours = LESION_COLOURS,
    opacity: float = LESION_OPACITY,
    scale: int | None = None,
) -> NDArray[np.uint8]:
    """A slice with its lesions: half-transparent masks, boxes, and labels such as "GGO 0.93".

    Args:
        image: (H, W) uint8, or float in [0, 1].
        lesion_mask: (H, W) integers, 0 none, else an index of ``names``.
        boxes: detections, in pixels of ``image``; the best are drawn last.
        names: class names, index = label, 0 the background.
        colours: red, green, blue in 0..255 of label 1, 2, ...; :data:`SAFE_LESION_COLOURS` for every colour vision.
        opacity: of the masks, in [0, 1].
        scale: whole factor by which the picture is enlarged before boxes and labels are drawn; None enlarges small
            slices until the shorter side has 384 pixels.

    Returns:
        (scale H, scale W, 3) uint8, red, green, blue.

    Raises:
        UsageError: when shapes do not fit, or a label has no name or no colour.
    """
    _check(image, lesion_mask, boxes, names, colours)
    if not 0 <= opacity <= 1 or (scale is not None and scale < 1):
        raise UsageError(f"opacity={opacity} must be in [0, 1], and scale={scale} a whole number of at least 1.")
    times = scale or max(1, -(-_READABLE // min(image.shape)))
    size = (times * image.shape[1], times * image.shape[0])
    grey = cv2.resize(_grey(image), size, interpolation=cv2.INTER_CUBIC)
    labels = cv2.resize(lesion_mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    palette = np.array([(0, 0, 0), *colours], np.float32)
    share = np.where(labels > 0, np.float32(opacity), 0)[..., None]
    mixed = grey[..., None] * (1 - share) + palette[labels] * share
    canvas = np.ascontiguousarray(np.rint(mixed), np.uint8)
    for one in sorted(boxes, key=lambda box: box.score):
        _draw(canvas, one, times, f"{lesion_word(names[one.label])} {one.score:.2f}", colours[one.label - 1])
    return canvas


def lesion_figure(
    slices: NDArray[Any],
    lesion_mask: NDArray[Any],
    *,
    boxes: Sequence[Sequence[LesionBox]] = (),
    names: Sequence[str] = LESION_CLASSES["both"],
    colours: Colours = LESION_COLOURS,
    count: int = 6,
) -> Figure:
    """Slices of a scan, above as they are, below with their lesions.

    Args:
        slices: (N, H, W) uint8, or float in [0, 1], feet to head.
        lesion_mask: (N, H, W) integers, 0 none, else an index of ``names``.
        boxes: detections of each slice; none without.
        names: class names, index = label, 0 the background.
        colours: as in :func:`lesion_overlay`.
        count: slices shown, evenly spread over those that have lesions, over all where none has.

    Returns:
        A matplotlib figure of two rows, free of any global state.

    Raises:
        UsageError: when shapes do not fit.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if slices.ndim != 3 or lesion_mask.shape != slices.shape or not len(slices) or count < 1:
        raise UsageError(f"The lesion mask has shape {lesion_mask.shape}, the slices {slices.shape}; count={count}.")
    if len(boxes) not in (0, len(slices)):
        raise UsageError(f"There are detections of {len(boxes)} slices, but {len(slices)} slices: give both of each.")
    shown = np.flatnonzero(lesion_mask.any((1, 2)) | np.array([len(own) > 0 for own in boxes] or [False]))
    shown = shown if len(shown) else np.arange(len(slices))
    chosen = shown[np.unique(np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int))]
    height = _PANEL * slices.shape[1] / slices.shape[2]
    figure = Figure(figsize=(_PANEL * len(chosen), 2 * height + 0.6), layout="constrained")
    for index, line in zip(chosen, figure.subplots(2, len(chosen), squeeze=False).T, strict=True):
        own = boxes[index] if boxes else ()
        coloured = lesion_overlay(slices[index], lesion_mask[index], boxes=own, names=names, colours=colours)
        line[0].imshow(_grey(slices[index]), cmap="gray", vmin=0, vmax=255)
        line[0].set_title(f"slice {index}", fontsize=9)
        line[1].imshow(coloured)
        for axis in line:
            axis.set_axis_off()
    legend = [
        Patch(color=(red / 255, green / 255, blue / 255), alpha=0.7, label=lesion_title(name))
        for name, (red, green, blue) in zip(names[1:], colours, strict=False)
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), fontsize=9, frameon=False)
    return figure


def _grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """A slice in 0..255."""
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    return np.asarray(np.rint(255 * np.clip(np.nan_to_num(image), 0, 1)), np.uint8)


def _draw(canvas: NDArray[np.uint8], one: LesionBox, times: int, text: str, colour: tuple[int, int, int]) -> None:
    """Draw a box and its label: above the box where there is room, else inside, never beyond the picture."""
    height, width = canvas.shape[:2]
    line = max(1, round(min(height, width) / 400))
    x0, y0, x1, y1 = (round(times * value) for value in one.box)
    cv2.rectangle(canvas, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), colour, line)
    size = 0.4 * max(1.0, min(height, width) / 512)
    (across, up), down = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, line)
    tall = up + down + 2
    left = max(0, min(x0, width - across - 4))
    top = max(0, min(y0 - tall if y0 >= tall else y0, height - tall))
    cv2.rectangle(canvas, (left, top), (left + across + 3, top + tall - 1), colour, cv2.FILLED)
    letters = (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > _BRIGHT else (255, 255, 255)
    place = (left + 2, top + up + 1)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, letters, line, cv2.LINE_AA)


def _check(
    image: NDArray[Any],
    lesion_mask: NDArray[Any],
    boxes: Sequence[LesionBox],
    names: Sequence[str],
    colours: Colours,
) -> None:
    """Refuse what cannot be drawn."""
    if image.ndim != 2 or lesion_mask.shape != image.shape or not image.size:
        raise UsageError(
            f"A lesion overlay needs a slice (H, W) and a mask of its size, not {image.shape} and {lesion_mask.shape}."
        )
    most = min(len(names) - 1, len(colours))
    labels = [int(lesion_mask.max()), *(box.label for box in boxes)]
    if int(lesion_mask.min()) < 0 or max(labels) > most or min(labels[1:], default=1) < 1:
        raise UsageError(
            f"The labels {sorted(set(labels))} do not fit {most} class(es) with a name and a colour: give names= and "
            "colours= for all of them."
        )
    if not all(np.isfinite(box.box).all() for box in boxes):
        raise UsageError("A box has a corner that is no number: leave such detections out.")
