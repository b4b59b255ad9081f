"""``features_of``: what an image tells without its lungs, for probes of shortcuts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from covidct.curation.file_facts import FileFacts, file_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from covidct.curation.listing import Scan

    Features = dict[str, NDArray[np.float64]]

__all__ = ("FEATURES", "features_of")

_BORDER = 0.05  # of the shorter side: frames, letters and table lie there, hardly ever lung
_CORNER = 0.10  # of each side
_DARK, _BRIGHT = 0.02, 0.98  # black padding and white frames, with the noise of JPEG
_FORMATS = ("png", "jpeg", "tiff", "bmp", "dicom", "nifti", "nrrd", "metaimage")
_FLAGS = ("exif", "icc", "resolution", "text", "progressive", "palette", "kernel", "scanner", "date", "contrast")
_PATCH = ("mean", "standard deviation", "share of black", "share of white")

FEATURES: Mapping[str, tuple[str, ...]] = {
    "borders": tuple(f"{side} border: {name}" for side in ("top", "bottom", "left", "right") for name in _PATCH),
    "corners": tuple(
        f"{corner} corner: {name}"
        for corner in ("top left", "top right", "bottom left", "bottom right")
        for name in _PATCH
    ),
    "mean intensity": ("mean",),
    "image size": ("rows", "columns", "slices", "log of pixels per slice", "aspect ratio"),
    "file metadata": (
        *(f"format: {name}" for name in _FORMATS),
        *(f"holds: {name}" for name in _FLAGS),
        "log of bytes",
        "log of bytes per pixel",
        "log of files",
        "bits per value",
        "channels",
        "JPEG quantisation",
    ),
}
"""Group of features to their names, in the order of the values of :func:`features_of`."""


def features_of(scan: Scan, facts: FileFacts | None = None) -> Features:
    """Everything the probes of shortcuts may look at; numbers of one scan, free of identity.

    Args:
        scan: a scan that was read.
        facts: of its files; None reads them.

    Returns:
        Group of :data:`FEATURES` to its values, float64, finite.
    """
    stack = scan.stack
    depth, height, width = stack.shape
    edge = max(1, round(_BORDER * min(height, width)))
    rows, columns = max(1, round(_CORNER * height)), max(1, round(_CORNER * width))
    borders = (stack[:, :edge], stack[:, -edge:], stack[:, :, :edge], stack[:, :, -edge:])
    corners = tuple(
        stack[:, v, h] for v in (slice(rows), slice(-rows, None)) for h in (slice(columns), slice(-columns, None))
    )
    return {
        "borders": np.concatenate([_patch(part) for part in borders]),
        "corners": np.concatenate([_patch(part) for part in corners]),
        "mean intensity": np.array([stack.mean(dtype=np.float64)]),
        "image size": np.array([height, width, depth, math.log(height * width), width / height]),
        "file metadata": _file(file_facts(scan) if facts is None else facts, stack.size),
    }


def _patch(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Four numbers of a part of the image."""
    return np.array(
        [
            values.mean(dtype=np.float64),
            values.std(dtype=np.float64),
            np.count_nonzero(values <= _DARK) / values.size,
            np.count_nonzero(values >= _BRIGHT) / values.size,
        ]
    )


def _file(facts: FileFacts, pixels: int) -> NDArray[np.float64]:
    """Numbers of the files."""
    size = max(facts.bytes, 1)
    return np.array(
        [
            *(float(facts.format == name) for name in _FORMATS),
            *(float(name in facts.flags) for name in _FLAGS),
            math.log(size),
            math.log(size / pixels),
            math.log(max(facts.files, 1)),
            float(facts.bits),
            float(facts.channels),
            facts.quantisation,
        ]
    )
