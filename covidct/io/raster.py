"""PNG, JPEG and TIFF: single images, and folders of slices, the form in which public COVID sets often come."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import GeometryError, InputError
from covidct.io.dicom_header import looks_like_dicom
from covidct.io.info import SeriesInfo
from covidct.io.limits import check_size
from covidct.io.names import counted, natural_key
from covidct.io.pixels import Pixels, full_scale, image_size, read_pixels
from covidct.io.voxels import opened
from covidct.volume import Finding, Image, Source, Volume, unknown_affine

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = (
    "IMAGE_SUFFIXES",
    "image_files",
    "raster_info",
    "read_image",
    "read_raster_folder",
    "stack_pixels",
    "to_grey",
)

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
    return tuple(sorted((p for p in found if p.is_file()), key=lambda p: (natural_key(p.stem), p.name)))


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read a 2-D image: a chest X-ray or one slice.

    PNG, JPEG and TIFF of 8, 12 or 16 bits are scaled by their depth (:func:`covidct.io.pixels.full_scale`), turned as
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
    top = full_scale(pixels)
    step = "floats taken as they are" if pixels.array.dtype.kind == "f" else f"divided by {top}"
    return Image(array=_scaled(pixels, top), steps=(*pixels.steps, step), findings=pixels.findings)


def to_grey(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey (H, W) float32 of a grey or colour image, (H, W) or (H, W, 3), by the weights of ITU-R BT.601."""
    return image @ _LUMA if image.ndim == 3 else image


def _is_dicom(file: Path) -> bool:
    with opened(file) as raw:
        return looks_like_dicom(raw.read(136)) or file.suffix.lower() in (".dcm", ".dicom")


def _scaled(pixels: Pixels, top: int) -> NDArray[np.float32]:
    return pixels.array.astype(np.float32) / np.float32(top)


def read_raster_folder(folder: str | os.PathLike[str], *, files: Sequence[Path] | None = None) -> Volume:
    """Read a folder of slice images as a volume of display values.

    Args:
        folder: images of one size.
        files: the slices in order; by default :func:`image_files`.

    Returns:
        float32 (D, H, W) in [0, 1], ``intensity="unit"``, spacing NaN, colour turned into grey (BT.601 luma).

    Raises:
        InputError: when there is no image, one cannot be read, or they are stored in several depths.
        GeometryError: when the images differ in size, or are fewer than three.
    """
    files = image_files(folder) if files is None else files
    for fault in _faults(files):
        raise GeometryError(f"{fault.message[:-1]} ({fault.code}): give one whole scan per folder.", (fault,))
    findings = {_NO_GEOMETRY.code: _NO_GEOMETRY}
    slices = [read_pixels(file) for file in files]
    kinds = {pixels.array.dtype for pixels in slices}
    if len(kinds) > 1:
        listed = ", ".join(sorted(str(kind) for kind in kinds))
        raise InputError(f"The slices are stored in several depths ({listed}): save all slices of a scan alike.")
    top = max(full_scale(pixels) for pixels in slices)
    for pixels in slices:
        findings.update((finding.code, finding) for finding in pixels.findings)
    height, width = slices[0].array.shape[:2]
    volume = np.empty((len(slices), height, width), dtype=np.float32)
    for plane, pixels in zip(volume, slices, strict=True):
        plane[:] = to_grey(_scaled(pixels, top))
    return Volume(
        array=volume,
        affine=unknown_affine(),
        modality="",
        intensity="unit",
        findings=tuple(findings.values()),
        source=Source("raster", (len(slices), height, width), unknown_affine()),
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
    for fault in _mixed_sizes(files):
        raise GeometryError(f"{fault.message[:-1]} ({fault.code}): give the mask of one scan per folder.", (fault,))
    slices = [read_pixels(file).array for file in files]
    if any(array.ndim == 3 for array in slices):
        raise InputError("The mask images are coloured: save the labels as grey values.")
    return np.stack(slices)


def raster_info(folder: str | os.PathLike[str]) -> SeriesInfo:
    """Describe a folder of slices from the headers of its images.

    Args:
        folder: a folder with at least one image.

    Raises:
        InputError: when there is no image, or one cannot be read.
    """
    files = image_files(folder)
    findings = (_NO_GEOMETRY, *_faults(files))
    nan = float("nan")
    return SeriesInfo("", "raster", "", (len(files), *image_size(files[0])), (nan, nan, nan), files, findings)


def _faults(files: Sequence[Path]) -> tuple[Finding, ...]:
    """What makes images no scan, from their headers: mixed sizes, or fewer than three."""
    faults = _mixed_sizes(files)
    if len(files) < 3:
        message = f"The folder holds {counted(len(files), 'picture', 'pictures')}, a volume needs at least 3 slices."
        faults = (*faults, Finding("too_few_slices", message, "refused"))
    return faults


def _mixed_sizes(files: Sequence[Path]) -> tuple[Finding, ...]:
    """Compare the headers; refuses no image, and more than fits."""
    if not files:
        raise InputError("The folder holds no PNG, JPEG or TIFF image: give the folder with all slices of a scan.")
    sizes = [image_size(file) for file in files]
    check_size((len(files), *sizes[0]), 1, held=1 << 62, compressed=False)
    odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if odd is None:
        return ()
    one, other = (" x ".join(map(str, sizes[i])) for i in (0, odd))
    message = f"The slices differ in size: the first is {one} pixels, number {odd + 1} is {other}."
    return (Finding("mixed_size", message, "refused"),)
