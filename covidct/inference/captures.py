"""``result_captures``: pictures of a result for DICOM secondary captures: slices, outlines, lesions, words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidct import RESEARCH_USE
from covidct.explain.lesions import lesion_overlay
from covidct.inference.attention import shown_slices
from covidct.inference.lesions import display_slices
from covidct.inference.preview import choose_slices
from covidct.io.dicom_capture import Capture
from covidct.io.dicom_terms import STRUCTURES
from covidct.labels import LESION_CLASSES, LUNGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.volume import Volume

__all__ = ("result_captures",)

_SHOWN = 6  # slices of a scan: as on its page
_SIDES = (512, 1024)  # pixels: the shorter side at least, the longer one at most
_LINE = 24  # pixels of a line of words
_LETTERS = 0.5  # size of OpenCV's letters: 11 pixels high
_WHITE = (235, 235, 235)


def result_captures(
    volume: Volume,
    *,
    lungs: NDArray[np.uint8] | None = None,
    lesions: NDArray[np.uint8] | None = None,
    lesion_names: Sequence[str] = LESION_CLASSES["both"],
    best: int | None = None,
    words: Sequence[str] = (),
) -> list[Capture]:
    """Draw at most six axial slices with outlines of the lungs and lesions in colour, and words below each.

    Slices are evenly spread over those with lesions, the one of most lesion among them; without lesions over the lungs,
    ``best`` among them. Pixels are square, whatever the scan's are.

    Args:
        volume: a scan of known spacing.
        lungs: (D, H, W), 1 right, 2 left.
        lesions: (D, H, W), labels of ``lesion_names``.
        lesion_names: names of the lesion labels, index = label.
        best: the slice that speaks most.
        words: lines below every picture. No identity: the pictures say so of themselves.
    """
    masks = [mask for mask in (lesions, lungs) if mask is not None and mask.any()]
    captures = []
    for index in _chosen(volume.shape[0], masks[0] if masks else None, lesions is masks[0] if masks else False, best):
        place = f"slice {index + 1} of {volume.shape[0]} from the feet"
        pixels, spacing = _drawn(volume, index, lungs, lesions, lesion_names)
        names = [LUNGS[value] for value in (1, 2) if lungs is not None and (lungs[index] == value).any()]
        if lesions is not None:
            names += [name for value, name in enumerate(lesion_names) if value and (lesions[index] == value).any()]
        captures.append(
            Capture(_with_words(pixels, [place, *words], names), spacing, f"{place}. {' '.join(words)} {RESEARCH_USE}")
        )
    return captures


def _chosen(depth: int, mask: NDArray[np.uint8] | None, by_area: bool, best: int | None) -> list[int]:
    """Indices of the slices to draw."""
    if mask is not None and by_area:
        area = np.array([np.count_nonzero(plane) for plane in mask], np.float64)
        return shown_slices(np.where(area > 0, area, np.nan).tolist(), count=_SHOWN)
    scores = np.full(depth, np.nan)
    if best is not None:
        scores[best] = 1.0
    shown = np.ones((depth, 1, 1), np.uint8) if mask is None else mask
    return [int(index) for index in choose_slices(shown, scores)]


def _drawn(
    volume: Volume,
    index: int,
    lungs: NDArray[np.uint8] | None,
    lesions: NDArray[np.uint8] | None,
    names: Sequence[str],
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """One slice in colour with square pixels, and their mm."""
    _, tall, wide = volume.spacing
    _, rows, columns = volume.shape
    height, width = rows * tall, columns * wide  # mm
    scale = max(_SIDES[0] / min(height, width), max(rows / height, columns / width))  # pixels a mm
    scale = min(scale, _SIDES[1] / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = display_slices(volume, [index])[0]
    grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA if size[0] < columns else cv2.INTER_LINEAR))
    labels = np.zeros(size[::-1], np.uint8) if lesions is None else _fitted(lesions[index], size)
    colours = tuple(STRUCTURES[name].colour for name in names[1:])
    pixels = lesion_overlay(grey.astype(np.uint8), labels, names=names, colours=colours, scale=1)
    for value in (1, 2):
        if lungs is not None:
            inside = (_fitted(lungs[index], size) == value).astype(np.uint8)
            lines, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.polylines(pixels, list(lines), True, STRUCTURES[LUNGS[value]].colour, 1, cv2.LINE_AA)
    for colour, thick in (((0, 0, 0), 5), (_WHITE, 2)):  # letters that are read on air and on tissue
        cv2.putText(pixels, "R", (8, size[1] // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.8, colour, thick, cv2.LINE_AA)
    return pixels, (height / size[1], width / size[0])


def _fitted(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels of a slice on the picture."""
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _with_words(pixels: NDArray[np.uint8], words: Sequence[str], names: Sequence[str]) -> NDArray[np.uint8]:
    """The picture on top of a black band with words, the names of the colours and the note on research."""
    lines = [(text, _WHITE) for text in (*words, RESEARCH_USE)]
    band = np.zeros((_LINE * (len(lines) + bool(names)) + _LINE // 2, pixels.shape[1], 3), np.uint8)
    for number, (text, colour) in enumerate(lines, 1):
        _put(band, text, (8, _LINE * number), colour)
    left = 8
    for name in names:
        left += _put(band, STRUCTURES[name].label, (left, _LINE * (len(lines) + 1)), STRUCTURES[name].colour) + 16
    return np.concatenate([pixels, band])


def _put(band: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> int:
    """Write a line, and return its width in pixels; narrower letters where it would not fit."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _LETTERS, 1)
    size = _LETTERS * min(1.0, (band.shape[1] - place[0] - 8) / max(width, 1))
    cv2.putText(band, text, place, cv2.FONT_HERSHEY_SIMPLEX, max(size, 0.2), colour, 1, cv2.LINE_AA)
    return int(min(width, band.shape[1] - place[0] - 8))
