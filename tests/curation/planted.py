"""Copies as they get into cohorts: exact, compressed, rescaled, cropped by 5 % of width and height, and mixed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from covidct.curation import Entry, find_duplicates

KINDS = ("exact", "compressed", "rescaled", "cropped", "mixed")


def compressed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """JPEG of quality 40 to 90."""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 91))])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))


def rescaled(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half to one and a half times the size."""
    factor = float(rng.uniform(0.5, 1.5))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=how))


def cropped(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Without 5 % of the rows and 5 % of the columns, divided between the sides by chance."""
    rows, columns = (round(0.05 * side) for side in picture.shape)
    top, left = int(rng.integers(0, rows + 1)), int(rng.integers(0, columns + 1))
    height, width = picture.shape
    return picture[top : height - rows + top, left : width - columns + left]


def copies(picture: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A copy of each kind."""
    return {
        "exact": picture,
        "compressed": compressed(picture, rng),
        "rescaled": rescaled(picture, rng),
        "cropped": cropped(picture, rng),
        "mixed": compressed(rescaled(cropped(picture, rng), rng), rng),
    }


def plant(entries: list[Entry], pictures: list[np.ndarray], folder: Path) -> dict[int, tuple[int, str]]:
    """Write a copy of each kind of each picture and list it as of the test split.

    Returns:
        Number of a copy's entry to (number of the original's entry, kind).
    """
    rng = np.random.default_rng(0)
    truth: dict[int, tuple[int, str]] = {}
    for original, picture in zip(list(entries), pictures, strict=True):
        for kind, copy in copies(picture, rng).items():
            number = len(entries) + 1
            assert cv2.imwrite(str(folder / f"{number}.png"), copy)
            entries.append(Entry(number, folder / f"{number}.png", original.label, original.subject, "test"))
            truth[number] = (original.number, kind)
    return truth


def found_rates(
    entries: list[Entry], truth: dict[int, tuple[int, str]], *, min_correlation: float = 0.9
) -> tuple[dict[str, float], float]:
    """Share of the copies of each kind that are tied to their original, and share of entries with a false partner.

    A copy is tied to its original directly or through other copies. A partner is false when it is of another subject.
    """
    pairs = find_duplicates(entries, min_correlation=min_correlation).pairs
    group = {entry.number: entry.number for entry in entries}

    def root(number: int) -> int:
        while group[number] != number:
            number = group[number]
        return number

    for pair in pairs:
        group[root(pair.first.number)] = root(pair.second.number)
    hits: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for copy, (original, kind) in truth.items():
        hits[kind].append(root(copy) == root(original))
    false = {entry.number for pair in pairs if pair.same_subject is False for entry in (pair.first, pair.second)}
    return {kind: float(np.mean(values)) for kind, values in hits.items()}, len(false) / len(entries)
