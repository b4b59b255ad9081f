"""``make_viewer``: every slice of a scan compressed for a page that a browser opens from disk.

Hounsfield units become 8-bit greys by a piecewise-linear map with finer steps where windows look closer, and each slice
one JPEG; a page undoes the map by a table of 256 entries. JPEG was taken after measuring (a thorax of a sharp kernel,
64 x 512 x 512, one core): WebP of the same error is a quarter smaller, but takes 10 to 25 ms a slice to write
and 2 to 3 ms to read where JPEG takes 1 ms and 0.5 ms; AVIF is slower still.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from covidct.inference.network_maps import maps_of_slices, maps_on_scan, places_on_scan
from covidct.labels import LESION_CLASSES, NEGATIVE_CLASSES
from covidct.result import Viewer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from covidct.inference.network_maps import NetworkMaps
    from covidct.result import CoarseMaps, ScanResult
    from covidct.volume import Volume

__all__ = ("GREY_KNOTS", "make_viewer")

GREY_KNOTS = ((-1024.0, 0), (-200.0, 110), (240.0, 215), (1500.0, 255))
"""(HU, grey): 7.5 HU a step in lung, where a window of 1500 HU on 256 greys shows 5.9; 4.2 HU in soft tissue, 31 in
bone. What lies beyond the ends is shown as the end."""

_BUDGET = 5_500_000  # bytes of slices and masks: 7.3 MB as base64, so that a page with all else stays below 10 MB
_RUNGS = (  # scale, quality
    *((1.0, 85), (1.0, 70), (0.75, 82), (0.75, 75), (0.75, 68), (0.625, 70)),
    *((0.5, 75), (0.5, 55), (0.375, 55), (0.25, 50)),
)
_SAMPLE = 12  # slices that are measured before a rung is taken
_WIDEST, _WIDEST_ALONE = 768, 1536  # pixels of the longer side: of one slice among many, of an X-ray
_LOW, _HIGH = int(GREY_KNOTS[0][0]), int(GREY_KNOTS[-1][0])


class _Form(NamedTuple):
    """How slices are kept: pixels (H, W) and JPEG quality."""

    size: tuple[int, int]
    quality: int


def make_viewer(
    volume: Volume,
    result: ScanResult,
    *,
    lung_mask: NDArray[np.uint8] | None = None,
    lesion_mask: NDArray[np.uint8] | None = None,
    maps: NetworkMaps | None = None,
) -> Viewer:
    """Compress every slice of a scan, its masks and what the network draws over them.

    Args:
        volume: the scan; an X-ray is one of a single slice in display values.
        result: what was found in it.
        lung_mask: (D, H, W) labels on the grid of the scan.
        lesion_mask: (D, H, W) labels on the grid of the scan.
        maps: of a network of volumes; None: Grad-CAM is that of the preview, whose indices are slices of the scan.

    Returns:
        Slices and masks of 5.5 MB at most, as fine as that allows, their longer side 768 pixels at most, 1536 of an
        X-ray.
    """
    form = _choose(volume, [mask for mask in (lung_mask, lesion_mask) if mask is not None])
    places = () if maps is None else places_on_scan(maps, volume)
    preview, names = result.preview, LESION_CLASSES["both"]
    return Viewer(
        slices=_each(lambda index: _jpeg(volume, index, form), range(volume.shape[0])),
        size=form.size,
        source=volume.shape[1:],
        quality=form.quality,
        aspect=_aspect(volume),
        step=volume.spacing[0],
        knots=GREY_KNOTS if volume.intensity == "hu" else (),
        lungs=_labels(lung_mask, form.size),
        lesions=_labels(lesion_mask, form.size),
        lesion_names=names if result.lesion_preview is None else result.lesion_preview.names,
        cam=_cam(volume, result, maps),
        cam_class=preview.cam_class if preview is not None else "",
        weights=_weights(volume, maps),
        places=places,
        start=_start(volume.shape[0], result, places, (lesion_mask, lung_mask)),
    )


def _cam(volume: Volume, result: ScanResult, maps: NetworkMaps | None) -> CoarseMaps | None:
    """Grad-CAM over the slices of the scan."""
    preview = result.preview
    if maps is not None:
        return None if maps.cam is None else maps_on_scan(maps.cam, maps, volume)
    if preview is None or preview.cam is None:
        return None
    return maps_of_slices(preview.cam, preview.indices, volume.shape[0])


def _weights(volume: Volume, maps: NetworkMaps | None) -> CoarseMaps | None:
    """Pooling weights over the slices of the scan, in units of the heaviest."""
    if maps is None or maps.weights is None:
        return None
    finite = np.nan_to_num(maps.weights).clip(min=0)
    return maps_on_scan(finite / max(finite.max(), np.float32(1e-12)), maps, volume)


def _choose(volume: Volume, masks: Sequence[NDArray[np.uint8]]) -> _Form:
    """The finest form whose sample keeps within the budget."""
    depth, height, width = volume.shape
    sample = np.unique(np.linspace(0, depth - 1, min(depth, _SAMPLE)).round().astype(np.int64)).tolist()
    widest = min(1.0, (_WIDEST if depth > 1 else _WIDEST_ALONE) / max(height, width))
    for scale, quality in _RUNGS:
        size = (max(1, round(height * widest * scale)), max(1, round(width * widest * scale)))
        form = _Form(size, quality)
        pictures = [_jpeg(volume, index, form) for index in sample]
        pictures += [_png(mask[index], size) for mask in masks for index in sample]
        if sum(map(len, pictures)) * depth <= _BUDGET * len(sample):
            break
    return form


def _jpeg(volume: Volume, index: int, form: _Form) -> bytes:
    """One slice."""
    plane = volume.array[index]
    plane = plane if plane.dtype in (np.int16, np.float32) else plane.astype(np.float32)
    if form.size != plane.shape:
        plane = cv2.resize(plane, form.size[::-1], interpolation=cv2.INTER_AREA)
    grey = _greys(plane) if volume.intensity == "hu" else np.rint(255 * plane.clip(0, 1)).astype(np.uint8)
    _, data = cv2.imencode(".jpg", grey, (cv2.IMWRITE_JPEG_QUALITY, form.quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1))
    return bytes(data)


def _greys(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """Hounsfield units as greys by :data:`GREY_KNOTS`."""
    steps = plane if plane.dtype == np.int16 else np.rint(np.nan_to_num(plane, nan=_LOW))
    return np.asarray(_table()[steps.clip(_LOW, _HIGH).astype(np.int16) - np.int16(_LOW)])


@cache
def _table() -> NDArray[np.uint8]:
    """The grey of each whole HU from the first knot to the last."""
    knots = np.asarray(GREY_KNOTS)
    greys: NDArray[np.float64] = np.rint(np.interp(np.arange(_LOW, _HIGH + 1), knots[:, 0], knots[:, 1]))
    return greys.astype(np.uint8)


def _labels(mask: NDArray[np.uint8] | None, size: tuple[int, int]) -> tuple[bytes, ...]:
    """A PNG per slice, empty where the slice has no label; empty without a mask."""
    if mask is None:
        return ()
    return _each(lambda index: _png(mask[index], size) if mask[index].any() else b"", range(len(mask)))


def _each(make: Callable[[int], bytes], indices: range) -> tuple[bytes, ...]:
    """The pictures of all slices, on as many cores as this process may use."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # OpenCV works without the interpreter's lock
        return tuple(pool.map(make, indices))


def _png(plane: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    """Labels of one slice."""
    fitted = cv2.resize(plane.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return bytes(cv2.imencode(".png", fitted)[1])


def _aspect(volume: Volume) -> float:
    """Width over height of a slice."""
    _, height, width = volume.shape
    _, tall, wide = volume.spacing
    known = np.isfinite([tall, wide]).all() and tall > 0 and wide > 0
    return width * wide / (height * tall) if known else width / height


def _start(depth: int, result: ScanResult, places: tuple[int, ...], masks: tuple[NDArray[np.uint8] | None, ...]) -> int:
    """Where a reader begins: what speaks most for a disease, else most lesions, else most lung, else the middle."""
    diseased = result.predicted not in NEGATIVE_CLASSES
    for told in (result.slice_scores if diseased else (), result.attention if diseased else ()):
        values = np.asarray(told, np.float64)
        if np.isfinite(values).any():
            best = int(np.nanargmax(values))
            return places[best] if places else best
    for mask in masks:
        if mask is not None and mask.any():
            return int(np.count_nonzero(mask, axis=(1, 2)).argmax())
    return depth // 2
