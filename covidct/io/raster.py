"""PNG, JPEG and TIFF: single images, and folders of slices, the form in which public COVID sets often come."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import GeometryError, InputError
from covidct.io.info import SeriesInfo
from covidct.io.limits import check_size
from covidct.io.pixels import image_size, read_pixels, unit_range
from covidct.volume import Finding, Image, Source, Volume, unknown_affine

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ("IMAGE_SUFFIXES", "image_files", "raster_info", "read_image", "read_raster_folder", "stack_pixels")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
"""Names that are taken for images, in any case of letters."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, the weights of JPEG's Y
_NO_GEOMETRY = Finding(
    "no_geometry",
    "Image files carry no spacing and no position: slices follow one another in the natural order of their names.",
)


def image_files(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """List the images of a folder in the natural order of their names (``slice2`` before ``slice10``).

    Args:
        folder: its sub-folders and hidden files are left out.
    """
    found = (p for p in Path(folder).iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return tuple(sorted((p for p in found if p.is_file()), key=_natural))


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Digits compare as numbers, the rest as text without regard to case; the name itself breaks ties."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.stem.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts], path.name


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read a 2-D image: a chest X-ray or one slice.

    PNG, JPEG and TIFF of 8, 12 or 16 bits are scaled by their depth (:func:`covidct.io.pixels.unit_range`), turned as
    EXIF says, freed of alpha, and made grey when the colour channels are equal. DICOM goes the way of the standard:
    modality LUT, VOI LUT or window, inversion of MONOCHROME1 last.

    Args:
        path: the file.

    Returns:
        Grey (H, W), or (H, W, 3) when the colours differ; float32 in [0, 1].

    Raises:
        InputError: when the file is no image, damaged, or too large.
    """
    file = Path(path)
    if _is_dicom(file):
        from covidct.io.dicom_image import read_dicom_image

        return read_dicom_image(file)
    pixels = read_pixels(file)
    array, step = unit_range(pixels)
    return Image(array=array, steps=(*pixels.steps, step), findings=pixels.findings)


def _is_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            start = opened.read(132)
    except OSError as error:
        raise InputError(f"The file {file.name!r} cannot be read: {error.strerror or error}.") from error
    return start[128:] == b"DICM" or file.suffix.lower() in (".dcm", ".dicom")


def read_raster_folder(folder: str | os.PathLike[str], *, files: Sequence[Path] | None = None) -> Volume:
    """Read a folder of slice images as a volume of display values.

    Args:
        folder: images of one size.
        files: the slices in order; by default :func:`image_files`.

    Returns:
        float32 (D, H, W) in [0, 1], ``intensity="unit"``, spacing NaN, colour turned into grey (BT.601 luma).

    Raises:
        InputError: when there is no image, or one cannot be read.
        GeometryError: when the images differ in size.
    """
    files = image_files(folder) if files is None else files
    pixels, findings = [], {_NO_GEOMETRY.code: _NO_GEOMETRY}
    _check_sizes(files)
    for file in files:
        stored = read_pixels(file)
        array, _ = unit_range(stored)
        pixels.append(array @ _LUMA if array.ndim == 3 else array)
        findings.update((finding.code, finding) for finding in stored.findings)
    volume = np.stack(pixels)
    depth, height, width = volume.shape
    return Volume(
        array=volume,
        affine=unknown_affine(),
        modality="",
        intensity="unit",
        findings=tuple(findings.values()),
        source=Source("raster", (depth, height, width), unknown_affine()),
    )


def stack_pixels(folder: str | os.PathLike[str]) -> NDArray[Any]:
    """Stored values of a folder of grey images, for masks.

    Args:
        folder: images of one size.

    Returns:
        (D, H, W) as stored.

    Raises:
        InputError: when there is no image, or one is coloured or cannot be read.
        GeometryError: when the images differ in size.
    """
    files = image_files(folder)
    _check_sizes(files)
    slices = [read_pixels(file).array for file in files]
    if any(array.ndim == 3 for array in slices):
        raise InputError("The mask images are coloured: save the labels as grey values.")
    return np.stack(slices)


def raster_info(folder: str | os.PathLike[str]) -> SeriesInfo:
    """Describe a folder of slices from the headers of its first image.

    Args:
        folder: a folder with at least one image.

    Raises:
        InputError: when there is no image, or the first cannot be read.
    """
    files = image_files(folder)
    if not files:
        raise InputError("The folder holds no PNG, JPEG or TIFF image.")
    nan = float("nan")
    return SeriesInfo("", "raster", "", (len(files), *image_size(files[0])), (nan, nan, nan), files, (_NO_GEOMETRY,))


def _check_sizes(files: Sequence[Path]) -> None:
    """Refuse before decoding: no image, mixed sizes, or more than fits."""
    if not files:
        raise InputError("The folder holds no PNG, JPEG or TIFF image.")
    sizes = [image_size(file) for file in files]
    if len(set(sizes)) > 1:
        odd = next(i for i, size in enumerate(sizes) if size != sizes[0])
        raise GeometryError(
            f"The slices differ in size (mixed_size): the first is {sizes[0][0]} x {sizes[0][1]} pixels, number "
            f"{odd + 1} is {sizes[odd][0]} x {sizes[odd][1]}; give one scan per folder.",
            (Finding("mixed_size", "The slices differ in size.", "refused"),),
        )
    check_size((len(files), *sizes[0]), 1, held=1 << 62, compressed=False)
