"""``Slice``: one image plane of a DICOM object, from its header; enhanced objects give one for every frame."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import InputError
from covidct.io.dicom_header import (
    CONTRAST_SEQUENCE,
    ELEMENTS,
    NO_PIXELS,
    OddHeaderError,
    looks_like_dicom,
    walk_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from covidct.io.dicom_files import Item

__all__ = ("Slice", "header_dataset", "read_slices", "typed_value")

MAX_FRAMES = 100_000  # of one object: ten times the longest dynamic CT
MAX_SIDE = 16_384  # pixels along a row or column of anything that is an X-ray or CT
_GROUPS = (0x52009229, 0x52009230)  # shared and per-frame functional groups


@dataclass(frozen=True, slots=True)
class Slice:
    """What geometry and decoding need of one image plane; free of patient identity.

    Attributes:
        item: the file.
        frame: index of the frame in the file.
        frames: number of frames of the file.
        values: elements of :data:`covidct.io.dicom_header.ELEMENTS` by name, as far as present.
        position: LPS mm of the first pixel's centre, None when absent.
        orientation: direction cosines along a row and along a column, None when absent or not orthonormal.
        pixel_spacing: mm between (rows, columns), None when absent.
        slope: factor of the modality LUT, None when absent.
        intercept: summand of the modality LUT, None when absent.
    """

    item: Item
    frame: int
    frames: int
    values: dict[str, Any]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None

    @property
    def name(self) -> str:
        """File name, with the frame where there are several."""
        return f"{self.item.name} frame {self.frame + 1}" if self.frames > 1 else self.item.name

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.values.get("rows", 0), self.values.get("columns", 0)

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID, empty when absent."""
        return str(self.values.get("series_uid", ""))

    @property
    def modality(self) -> str:
        """Modality, empty when absent."""
        return str(self.values.get("modality", ""))

    @property
    def frame_bytes(self) -> int:
        """Bytes of the uncompressed frame."""
        rows, columns = self.shape
        return rows * columns * int(self.values.get("samples", 1)) * int(self.values.get("bits_allocated", 16)) // 8

    @property
    def is_colour(self) -> bool:
        """Whether there is more than one value per pixel: a screen capture, no measurement."""
        return int(self.values.get("samples", 1)) != 1

    @property
    def is_localizer(self) -> bool:
        """Whether the image type calls it a localizer."""
        kinds = str(self.values.get("image_type", "")).upper().split("\\")
        return "LOCALIZER" in kinds or "SCOUT" in kinds

    def fault(self) -> str | None:
        """Say why the pixels cannot be read, as far as header and file size tell; None when they can."""
        rows, columns = self.shape
        if not 0 < rows <= MAX_SIDE or not 0 < columns <= MAX_SIDE:
            return f"the header claims {rows} x {columns} pixels"
        if not 0 < self.frames <= MAX_FRAMES:
            return f"the header claims {self.frames} frames"
        if self.frames > 1 and not self.values["grouped"]:
            return f"{self.frames} frames have one place"
        offset, length = self.values["pixel_offset"], self.values["pixel_length"]
        wanted = self.frame_bytes * self.frames
        available = max(self.item.size - offset, 0) if offset != NO_PIXELS else self.item.size * MAX_INFLATION
        if length != 0xFFFFFFFF and min(length if offset != NO_PIXELS else available, available) < wanted:
            return f"truncated, {wanted} bytes of pixels are due"
        return None


MAX_INFLATION = 1100  # deflate cannot do more


def read_slices(item: Item) -> list[Slice]:
    """Read the header of a file.

    Args:
        item: any file.

    Returns:
        One slice per frame; a single one with 0 x 0 pixels for DICOM objects without pixels; empty when the file is no
        DICOM file.

    Raises:
        InputError: when it is a DICOM file whose header cannot be read.
    """
    with item.open() as file:
        start = file.read(136)
        if not looks_like_dicom(start):
            return []
        if b"DICOMDIR" in start or item.name.upper() == "DICOMDIR":
            return []
        file.seek(0)
        try:
            values = walk_header(file)
        except OddHeaderError:
            values = _values_by_pydicom(item)
        except (OSError, RuntimeError) as error:
            raise InputError(f"The file {item.name} cannot be read ({error}): copy it again.") from error
    if values.get("media_class") == "1.2.840.10008.1.3.10":  # media storage directory
        return []
    if start[128:132] == b"DICM" and not values.keys() & {"rows", "series_uid"}:  # every object is of a series
        raise InputError(f"The DICOM file {item.name} names no series: its header is damaged, copy the file again.")
    return list(_frames(item, values))


def _values_by_pydicom(item: Item) -> dict[str, Any]:
    """What :func:`covidct.io.dicom_header.walk_header` gives, for headers that are beyond it."""
    dataset = header_dataset(item, [*ELEMENTS, *_GROUPS, CONTRAST_SEQUENCE])
    values: dict[str, Any] = {"pixel_offset": NO_PIXELS, "pixel_length": 0, "pixel_kind": "integer"}
    values["grouped"] = any(tag in dataset for tag in _GROUPS)
    values["agents"] = CONTRAST_SEQUENCE in dataset and len(dataset[CONTRAST_SEQUENCE].value or ()) > 0
    meta = getattr(dataset, "file_meta", {})
    for tag, (name, form) in ELEMENTS.items():
        source = meta if tag < 0x00030000 else dataset
        value = typed_value(source, tag, form)
        if value is not None:
            values[name] = value
    if "transfer_syntax" not in values and getattr(dataset, "original_encoding", (None, None))[0] is not None:
        implicit, little = dataset.original_encoding
        syntaxes = {(True, True): "", (False, True): ".1", (False, False): ".2"}
        values["transfer_syntax"] = "1.2.840.10008.1.2" + syntaxes.get((implicit, little), ".1")
    return values


def header_dataset(item: Item, tags: list[int] | None) -> Any:  # noqa: ANN401 - pydicom has no types
    """Parse the named elements of a file (None: all of them), but no pixels, with pydicom.

    Raises:
        InputError: when the header is damaged.
    """
    import pydicom

    content = None
    if item.archive is not None:
        with item.open() as file:
            content = file.read()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are what this path is for
            return pydicom.dcmread(
                item.path if content is None else io.BytesIO(content),
                stop_before_pixels=True,
                force=True,
                specific_tags=tags,
            )
    except Exception as error:  # pydicom lets many kinds through on damaged files
        raise InputError(f"The DICOM header of {item.name} is damaged: copy or export the file again.") from error


def typed_value(dataset: Any, tag: int, form: str) -> Any:  # noqa: ANN401 - pydicom has no types
    """Value of an element in the form that the walk gives; None when absent, empty or malformed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = dataset[tag].value
        if value is None or value == "":
            return None
        if form == "floats":
            return tuple(float(v) for v in value) if np.ndim(value) else (float(value),)
        if form == "short":
            return int(value) & 0xFFFF
        if form == "integer":
            return int(value)
        return str(value) if isinstance(value, str) else "\\".join(str(v) for v in value)
    except Exception:  # a damaged value counts as absent
        return None


def _frames(item: Item, values: dict[str, Any]) -> Iterator[Slice]:
    frames = values.get("frames", 1) if values.get("rows") else 1
    first = Slice(
        item=item,
        frame=0,
        frames=frames,
        values=values,
        position=_vector(values.get("position"), 3),
        orientation=_orientation(values.get("orientation")),
        pixel_spacing=_positive(values.get("pixel_spacing")),
        slope=_number(values.get("slope")),
        intercept=_number(values.get("intercept")),
    )
    yield from _grouped(first) if values["grouped"] and first.shape[0] else [first]


def _grouped(first: Slice) -> Iterator[Slice]:
    """Frames of an enhanced object: what the functional groups say goes before the top level."""
    item = first.item
    dataset = header_dataset(item, list(_GROUPS))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shared = _group(dataset.get(_GROUPS[0]), 0)
            per_frame = dataset[_GROUPS[1]].value if _GROUPS[1] in dataset else []
            for index in range(first.frames):
                yield _one_frame(first, index, shared, per_frame[index])
    except Exception as error:
        raise InputError(f"The functional groups of {item.name} are damaged: export the file again.") from error


def _group(element: Any, index: int) -> Any:  # noqa: ANN401 - pydicom has no types
    return element.value[index] if element is not None and len(element.value) else {}


def _one_frame(first: Slice, index: int, shared: Any, own: Any) -> Slice:  # noqa: ANN401 - pydicom has no types
    def find(sequence: int, tag: int) -> tuple[float, ...] | None:
        for groups in (own, shared):
            if sequence in groups and len(groups[sequence].value):
                value = typed_value(groups[sequence].value[0], tag, "floats")
                if value is not None:
                    return tuple(value)
        return None

    values = dict(first.values)
    frame_type = [g[0x00189329].value[0] for g in (own, shared) if 0x00189329 in g and len(g[0x00189329].value)]
    if frame_type and (text := typed_value(frame_type[0], 0x00089007, "text")):
        values["image_type"] = text
    if thickness := find(0x00289110, 0x00180050):
        values["thickness"] = thickness
    slope, intercept = find(0x00289145, 0x00281053), find(0x00289145, 0x00281052)
    return replace(
        first,
        frame=index,
        values=values,
        position=_vector(find(0x00209113, 0x00200032), 3) or first.position,
        orientation=_orientation(find(0x00209116, 0x00200037)) or first.orientation,
        pixel_spacing=_positive(find(0x00289110, 0x00280030)) or first.pixel_spacing,
        slope=_number(slope) if slope else first.slope,
        intercept=_number(intercept) if intercept else first.intercept,
    )


def _number(value: tuple[float, ...] | None) -> float | None:
    return value[0] if value else None


def _vector(value: tuple[float, ...] | None, length: int) -> tuple[float, ...] | None:
    return value if value is not None and len(value) == length and bool(np.isfinite(value).all()) else None


def _positive(value: tuple[float, ...] | None) -> tuple[float, ...] | None:
    vector = _vector(value, 2)
    return vector if vector is not None and min(vector) > 0 else None


def _orientation(value: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Make two rounded direction cosines orthonormal; None when they are far from it."""
    vector = _vector(value, 6)
    if vector is None:
        return None
    row, column = np.array(vector[:3]), np.array(vector[3:])
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(float(row @ column)) > 0.01:
        return None
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return (*row.tolist(), *column.tolist())
