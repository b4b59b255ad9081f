"""Trachea and main bronchi: followed slice by slice from the neck down, until they open into the lungs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidct.functional.morphology import disc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ("trace_airways",)

# All sizes in mm and mm^2. The adult trachea is 10 to 27 mm wide (Breatnach et al., AJR 1984;142:903), 80 to 570 mm^2;
# there is a margin for children, partial volume and the carina. The rest is ours, tuned on four real scans.
_TRACHEA_AREA = (50.0, 700.0)
_CARINA_AREA = 900.0
_BRONCHUS_AREA = 12.0
_OFF_CENTRE = 35.0
_SEARCH = 150.0  # below the highest enclosed air
_LENGTH = 40.0  # a trachea is followed at least so far; the top of a lung widens sooner
_SLOPE = 1.2  # sideways steps of an airway per step down
_WIDENING = 1.7  # a branch whose area grows more from slice to slice has opened into the lung
_SLACK = 30.0  # mm^2 on top, for small branches
_OPEN = 0.4  # share of air around a region above which it is no longer an airway with walls
_BRANCHES = 6


def trace_airways(air: NDArray[np.uint8], spacing: tuple[float, float, float], middle: float) -> NDArray[np.uint8]:
    """Find the trachea and follow it and the main bronchi downwards.

    Args:
        air: (D, H, W) in {0, 1}, the air inside the body, canonical LPS grid.
        spacing: (d, h, w) in mm.
        middle: column of the patient's midline.

    Returns:
        (D, H, W) in {0, 1}, a part of ``air``; empty when no trachea is found.
    """
    filled = np.flatnonzero(air.any((1, 2)))
    if len(filled):
        lowest = max(int(filled[-1] - _SEARCH / spacing[0]), 0)
        for top in range(int(filled[-1]), lowest, -1):
            for seed in _seeds(air[top], spacing, middle):
                airways, length = _follow(air, seed, top, spacing)
                if length >= _LENGTH:
                    return airways
    return np.zeros_like(air)


def _seeds(air: NDArray[np.uint8], spacing: tuple[float, float, float], middle: float) -> Iterator[NDArray[np.uint8]]:
    """Components of a slice that look like a trachea: of its size, compact, near the midline."""
    _, height, width = spacing
    count, labels, boxes, centres = cv2.connectedComponentsWithStats(air, connectivity=4, ltype=cv2.CV_32S)
    for label in range(1, count):
        _, _, columns, rows, area = boxes[label].tolist()
        across, along = columns * width, rows * height
        if (
            _TRACHEA_AREA[0] <= area * height * width <= _TRACHEA_AREA[1]
            and abs(centres[label][0] - middle) * width <= _OFF_CENTRE
            and area >= 0.5 * columns * rows
            and max(across, along) <= 2.5 * min(across, along)
        ):
            yield (labels == label).astype(np.uint8)


def _follow(
    air: NDArray[np.uint8], seed: NDArray[np.uint8], top: int, spacing: tuple[float, float, float]
) -> tuple[NDArray[np.uint8], float]:
    """Follow a seed down through its branches; returns the airway and its length in mm."""
    depth, height, width = spacing
    reach = disc(max(_SLOPE * depth, height, width), (height, width))
    airways = np.zeros_like(air)
    airways[top] = seed
    branches = [(seed, float(seed.sum()))]
    index = top
    while branches and index > 0:
        index -= 1
        following: list[tuple[NDArray[np.uint8], float]] = []
        for region, area in branches:
            for part, size in _continue(air[index], region, area, reach, height * width):
                airways[index] |= part
                following.append((part, 0.5 * area + 0.5 * size))  # a running mean, so that leaks cannot creep
        branches = sorted(following, key=lambda branch: -branch[1])[:_BRANCHES]
    return airways, (top - index) * depth


def _continue(
    air: NDArray[np.uint8], region: NDArray[np.uint8], area: float, reach: NDArray[np.uint8], pixel: float
) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """The parts of the next slice that carry a branch on; straight on where a thin wall lets it leak sideways."""
    for step in (np.asarray(cv2.dilate(region, reach), np.uint8), region):
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(step & air, connectivity=4, ltype=cv2.CV_32S)
        found = False
        for label in range(1, count):
            size = float(boxes[label, cv2.CC_STAT_AREA])
            if _BRONCHUS_AREA <= size * pixel <= min(_CARINA_AREA, _WIDENING * area * pixel + _SLACK):
                part = (labels == label).astype(np.uint8)
                if _openness(air, part) <= _OPEN:
                    found = True
                    yield part, size
        if found:
            return


def _openness(air: NDArray[np.uint8], part: NDArray[np.uint8]) -> float:
    """Share of air in the pixels around a region: little around an airway, much around a leak into the lung."""
    around = np.asarray(cv2.dilate(part, np.ones((5, 5), np.uint8)), np.uint8) - part
    return float(np.count_nonzero(around & air)) / max(float(np.count_nonzero(around)), 1.0)
