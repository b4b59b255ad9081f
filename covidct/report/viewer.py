"""A viewer on the page of a scan: what ``viewer.html`` shows of it, and the data that ``viewer.js`` draws."""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.explain.lesions import LESION_COLOURS, LESION_OPACITY, lesion_title
from covidct.explain.overlay import OPACITY, heat_colours
from covidct.report.attention import times_even
from covidct.report.words import class_title
from covidct.volume import LUNG_WINDOW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from covidct.result import CoarseMaps, ScanResult, Viewer

__all__ = ("Layer", "ViewerView", "Window", "slice_values", "viewer_view")

_MEDIASTINUM = (-160.0, 240.0)  # level 40, width 400: the usual window of soft tissue
_LUNG_COLOURS = ("#5cc8ff", "#7af0c0")  # right, left: those of the outlines elsewhere
_WEIGHT_COLOUR = (255, 140, 40)  # orange: apart from grey lungs and from the blue outlines for every colour vision
_WEIGHT_OPACITY = 0.4
_HEAT_LINE = "linear-gradient(to right, #00f, #0ff, #0f0, #ff0, #f00)"
_STEP = 10  # HU of the scale of windows
_UNIT = 255  # greys of display values


@dataclass(frozen=True, slots=True)
class Window:
    """A grey-value window: its title, and what becomes black and white."""

    title: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Layer:
    """Something that can be laid over the slices.

    Attributes:
        name: under which the data has it.
        title: in words.
        opacity: in percent, to begin with.
        on: whether it is shown to begin with.
        swatches: title and CSS background of each colour.
    """

    name: str
    title: str
    opacity: int
    on: bool
    swatches: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class ViewerView:
    """What a page shows of a viewer.

    Attributes:
        viewer: the pictures.
        count: of slices.
        windows: to choose from; the first one is shown to begin with.
        levels: lowest and highest value of the scale of windows.
        unit: of that scale.
        layers: what can be laid over the slices.
        form: what the pictures are, in sentences.
        data: for the script, plain.
    """

    viewer: Viewer
    count: int
    windows: Sequence[Window]
    levels: tuple[int, int]
    unit: str
    layers: Sequence[Layer]
    form: str
    data: Mapping[str, Any]

    def place(self, index: int) -> int:
        """The slice of the scan that lies nearest to a slice that the network saw."""
        places = self.viewer.places
        return places[index] if index < len(places) else index


def viewer_view(scan: ScanResult) -> ViewerView | None:
    """Prepare the viewer of a scan for a template; None without one."""
    viewer = scan.viewer
    if viewer is None or not viewer.slices:
        return None
    layers, drawn = _layers(scan, viewer)
    hu = bool(viewer.knots)
    windows = (
        [Window("Lung", *LUNG_WINDOW), Window("Mediastinum", *_MEDIASTINUM)] if hu else [Window("As it is", 0, _UNIT)]
    )
    height, width = viewer.size
    count = len(viewer.slices)
    return ViewerView(
        viewer=viewer,
        count=count,
        windows=windows,
        levels=(_STEP * math.floor(viewer.knots[0][0] / _STEP), int(viewer.knots[-1][0])) if hu else (0, _UNIT),
        unit="HU" if hu else "",
        layers=layers,
        form=_form(viewer),
        data={
            "size": [width, height],
            "start": min(max(viewer.start, 0), count - 1),
            "values": _values(viewer),
            "slices": [_text(picture) for picture in viewer.slices],
            "layers": drawn,
            "scores": _plain(slice_values(scan.slice_scores, viewer)),
            "times": _plain(slice_values(times_even(scan), viewer)),
        },
    )


def slice_values(values: Sequence[float], viewer: Viewer) -> list[float]:
    """Values of the slices that the network saw as values of the scan's slices, linearly between; empty without any.

    Args:
        values: feet to head, NaN where there is none.
        viewer: knows where the network's slices lie.
    """
    count = len(viewer.slices)
    known = np.asarray(values, np.float64)
    if not np.isfinite(known).any():
        return []
    if not viewer.places:
        return [*known[:count].tolist(), *[math.nan] * (count - len(known))]
    places = np.asarray(viewer.places[: len(known)])
    finite = np.isfinite(known[: len(places)])
    at, found = places[finite], known[: len(places)][finite]
    first = np.unique(at, return_index=True)[1]
    return list(map(float, np.interp(np.arange(count), at[first], found[first], left=math.nan, right=math.nan)))


def _layers(scan: ScanResult, viewer: Viewer) -> tuple[list[Layer], dict[str, Any]]:
    """Layers from the lowest to the highest, and their data by name."""
    layers: list[Layer] = []
    drawn: dict[str, Any] = {}
    times, lesions = slice_values(times_even(scan), viewer), any(viewer.lesions)
    if times:
        layers.append(Layer("attention", "Slice attention", 100, on=False))
        top = max(value for value in times if math.isfinite(value))
        drawn["attention"] = {"kind": "fade", "shares": _plain([value / top for value in times])}
    if viewer.cam is not None:
        title = f"Grad-CAM of {class_title(viewer.cam_class)}" if viewer.cam_class else "Grad-CAM"
        layers.append(
            Layer("cam", title, round(100 * OPACITY), on=not lesions, swatches=[("little to much", _HEAT_LINE)])
        )
        drawn["cam"] = _heat(viewer.cam, np.rint(255 * heat_colours(np.arange(256) / 255)).astype(np.uint8).tolist())
    if viewer.weights is not None:
        orange = "#{:02x}{:02x}{:02x}".format(*_WEIGHT_COLOUR)
        on = viewer.cam is None and not lesions
        layers.append(
            Layer(
                "weights", "Pooling weights", round(100 * _WEIGHT_OPACITY), on, [("where features are pooled", orange)]
            )
        )
        drawn["weights"] = _heat(viewer.weights, [list(_WEIGHT_COLOUR)] * 256)
    if lesions:
        colours = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in LESION_COLOURS]
        named = [(lesion_title(name), colour) for name, colour in zip(viewer.lesion_names[1:], colours, strict=False)]
        layers.append(Layer("lesions", "Lesions", round(100 * LESION_OPACITY), on=True, swatches=named))
        drawn["lesions"] = _labels(viewer.lesions, colours, filled=True)
    if any(viewer.lungs):
        named = [("right", _LUNG_COLOURS[0]), ("left", _LUNG_COLOURS[1])] if scan.mask_source != "lung_field" else []
        layers.append(Layer("lungs", "Lung outlines", 100, on=True, swatches=named))
        drawn["lungs"] = _labels(viewer.lungs, _LUNG_COLOURS, filled=False)
    return layers, drawn


def _heat(maps: CoarseMaps, palette: list[list[int]]) -> dict[str, Any]:
    """Coarse maps for the script."""
    return {
        "kind": "heat",
        "cells": list(maps.values.shape[1:]),
        "box": [round(edge, 5) for edge in maps.box],
        "known": maps.known.astype(int).tolist(),
        "values": _text(np.ascontiguousarray(maps.values).tobytes()),
        "palette": palette,
    }


def _labels(pictures: Sequence[bytes], colours: Sequence[str], *, filled: bool) -> dict[str, Any]:
    """Label pictures for the script."""
    rgb = [[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in colours]
    return {"kind": "labels", "filled": filled, "colours": rgb, "pictures": [_text(picture) for picture in pictures]}


def _values(viewer: Viewer) -> list[float]:
    """What each of the 256 greys stands for."""
    if not viewer.knots:
        return list(range(256))
    hu, grey = zip(*viewer.knots, strict=True)
    return [round(float(value), 1) for value in np.interp(np.arange(256), grey, hu)]


def _form(viewer: Viewer) -> str:
    """What the pictures are, so that nobody measures on them."""
    (height, width), (tall, wide) = viewer.size, viewer.source
    times = "\N{MULTIPLICATION SIGN}"
    size = f"{width} {times} {height} pixels"
    kept = size if viewer.size == viewer.source else f"{size}, thinned from {wide} {times} {tall}"
    each = "Each slice is" if len(viewer.slices) > 1 else "It is"
    grey = "grey values of 8 bits" + (", finer in soft tissue than in bone" if viewer.knots else "")
    return (
        f"{each} kept as a JPEG of {kept}, in {grey}: to look at, not to measure on. "
        "All figures of this page come from the scan itself."
    )


def _plain(values: Sequence[float]) -> list[float | None]:
    """Numbers for JSON."""
    return [round(value, 4) if math.isfinite(value) else None for value in values]


def _text(data: bytes) -> str:
    """Bytes as base64."""
    return b64encode(data).decode("ascii")
