"""Slices of a scan as data URIs and outlines as SVG paths, so that a page needs no other file."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidct.explain.overlay import OPACITY, heat_colours, upsample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.result import Preview

__all__ = ("Picture", "data_uri", "pictures", "shrunk", "slice_uri", "thumbnail")

_WEIGHT_BGR = (40, 140, 255)  # orange: apart from grey lungs and from the blue outlines for every colour vision
_LOSSLESS = 256  # pixels of the longer side up to which a slice is kept as it is: dozens stand on a page
_MAX_ALPHA = 100  # of 255: the slice stays readable under the heaviest cell


@dataclass(frozen=True, slots=True)
class Picture:
    """One slice, ready for a template.

    Attributes:
        index: of the slice in the volume the network saw.
        width: of the slice in pixels, the unit of the outlines.
        height: of the slice in pixels.
        image: data URI of the grey slice.
        right: SVG path of the right lung's outline, empty without one.
        left: SVG path of the left lung's outline.
        weights: data URI of the pooling weights, one pixel per cell of the feature map; empty without weights.
        cam: data URI of Grad-CAM in colour, transparent where cold; empty without one.
        words: what stands below it.
    """

    index: int
    width: int
    height: int
    image: str
    right: str
    left: str
    weights: str
    cam: str
    words: str


def pictures(preview: Preview, *, limit: int | None = None) -> list[Picture]:
    """Every shown slice of a preview, feet to head.

    Args:
        preview: slices, masks and weights.
        limit: at most this many, evenly spread; None takes all.
    """
    count = len(preview.slices)
    shown = count if limit is None else min(limit, count)
    chosen = [(2 * number + 1) * count // (2 * shown) for number in range(shown)]  # the middles of equal parts
    heaviest = 0.0 if preview.weights is None else float(np.nan_to_num(preview.weights).max())
    return [_picture(preview, number, heaviest) for number in chosen]


def thumbnail(preview: Preview, *, size: int = 96) -> str:
    """Data URI (JPEG) of the middle slice, ``size`` pixels wide: a table of a thousand stays a few megabytes."""
    image = preview.slices[len(preview.slices) // 2]
    height = max(1, round(size * image.shape[0] / image.shape[1]))
    return data_uri(cv2.resize(image, (size, height), interpolation=cv2.INTER_AREA), ".jpg", quality=70)


def _picture(preview: Preview, number: int, heaviest: float) -> Picture:
    """Encode one slice with its overlays; ``heaviest`` is the largest weight of the scan."""
    image, mask = preview.slices[number], preview.lung_mask[number]
    weights = None if preview.weights is None else preview.weights[number]
    return Picture(
        index=int(preview.indices[number]),
        width=image.shape[1],
        height=image.shape[0],
        image=slice_uri(image),
        right=_outline(mask == 1),
        left=_outline(mask == 2),
        weights="" if weights is None else data_uri(_overlay(weights, heaviest), ".png"),
        cam=""
        if preview.cam is None
        else data_uri(_heat(preview.cam[number], _fitted((image.shape[0], image.shape[1]), _LOSSLESS)), ".png"),
        words=preview.words[number] if preview.words else f"slice {int(preview.indices[number])}",
    )


def _overlay(weights: NDArray[np.float32], heaviest: float) -> NDArray[np.uint8]:
    """Weights (h, w) as BGRA pixels of one colour, opacity in proportion to the weight.

    The scale is that of the whole scan: a slice without lungs, whose weights are even, looks faint beside others.
    """
    finite = np.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
    pixels = np.empty((*weights.shape, 4), np.uint8)
    pixels[..., :3] = _WEIGHT_BGR
    pixels[..., 3] = np.rint(finite / max(heaviest, 1e-12) * _MAX_ALPHA)
    return pixels


def _heat(cam: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Grad-CAM (h, w) in its fixed scale as BGRA pixels of a slice, the opacity in proportion to the value."""
    values = upsample(cam, size).clip(0, 1)
    pixels = np.empty((*size, 4), np.uint8)
    pixels[..., :3] = np.rint(255 * heat_colours(values)[..., ::-1])
    pixels[..., 3] = np.rint(255 * OPACITY * values)
    return pixels


def _outline(mask: NDArray[np.bool_]) -> str:
    """SVG path around ``mask`` (H, W) in pixel units, at sub-pixel precision so that it does not look like stairs."""
    if not mask.any():
        return ""
    fine = max(1, 512 // mask.shape[1])
    size = (mask.shape[1] * fine, mask.shape[0] * fine)
    grown = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    contours, _ = cv2.findContours((grown >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    lines = [cv2.approxPolyDP(contour, 0.4 * fine / 2, True)[:, 0] for contour in contours]
    return "".join(
        "M" + "L".join(f"{(x + 0.5) / fine:.1f} {(y + 0.5) / fine:.1f}" for x, y in line.tolist()) + "Z"
        for line in lines
        if len(line) > 2
    )


def slice_uri(pixels: NDArray[np.uint8], *, widest: int = _LOSSLESS) -> str:
    """Data URI of a slice (H, W): PNG up to 256 pixels a side, else JPEG of at most ``widest``, which is a tenth."""
    if max(pixels.shape) <= _LOSSLESS:
        return data_uri(np.ascontiguousarray(pixels, dtype=np.uint8), ".png")
    return shrunk(pixels, widest, quality=85)[0]


def shrunk(pixels: NDArray[np.uint8], side: int, suffix: str = ".jpg", *, quality: int = 95) -> tuple[str, int, int]:
    """Data URI of a grey picture (H, W) of at most ``side`` pixels a side, with its width and height."""
    height, width = _fitted((pixels.shape[0], pixels.shape[1]), side)
    fits = (height, width) == pixels.shape
    small = pixels if fits else np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
    return data_uri(small.astype(np.uint8, copy=False), suffix, quality=quality), width, height


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(H, W) of the same form with at most ``side`` pixels a side."""
    scale = min(1.0, side / max(size))
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def data_uri(pixels: NDArray[np.uint8], suffix: str = ".png", *, quality: int = 95) -> str:
    """Encode pixels, (H, W) grey or (H, W, 3 or 4) in BGR(A) order, as PNG or JPEG of a quality in [1, 100]."""
    _, data = cv2.imencode(suffix, pixels, (cv2.IMWRITE_JPEG_QUALITY, quality) if suffix == ".jpg" else ())
    kind = {".png": "png", ".jpg": "jpeg"}[suffix]
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"
