"""Read label maps of any format onto the grid of their scan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from covidct.errors import GeometryError, InputError, UsageError
from covidct.io.affine import corners, spacing_of
from covidct.io.geometry import canonical_axes
from covidct.io.itk import read_itk_voxels
from covidct.io.nifti import read_nifti_voxels
from covidct.io.raster import IMAGE_SUFFIXES, stack_pixels
from covidct.io.regrid import regrid_labels
from covidct.volume import Source

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from covidct.volume import Volume

__all__ = ("read_mask",)

_EDGE_SHARE = 0.01  # of the pixels: what scaling or JPEG leaves between the two values of a picture of a mask


def read_mask(
    path: str | os.PathLike[str],
    like: Volume,
    *,
    mapping: Mapping[int, int] | None = None,
    unlisted: Literal["background", "error"] = "background",
) -> NDArray[np.uint8]:
    """Read a label map onto the grid of its scan.

    NIfTI, NRRD and MetaImage masks carry their place: one on another voxel grid (a mask of 1.5 mm for a scan of
    0.7 mm) is taken by the nearest voxel as long as both grids cover the same part of space, within one voxel of
    the coarser one along each axis. A folder of pictures carries none: it must have the voxels of the scan as
    stored, in the order of names.

    Args:
        path: a mask file, or a folder of PNG, JPEG or TIFF slices.
        like: the scan.
        mapping: label in the file to label of the result; labels it does not name, but 0, are ``unlisted``. Without
            it the labels must be 0, 1 and 2; a mask of 0 and 255 (pictures: with up to 1 % of values in between) means
            outside and inside.
        unlisted: what becomes of labels that ``mapping`` does not name: 0, or a refusal.

    Returns:
        uint8 (D, H, W) on the canonical grid of ``like``.

    Raises:
        GeometryError: when mask and scan do not cover the same part of space.
        InputError: when the file cannot be read or holds other labels.
        UsageError: when ``mapping`` leads to labels outside 0..255, or ``unlisted`` is another word.
    """
    if mapping is not None and not all(0 <= int(label) <= 255 for label in mapping.values()):
        raise UsageError("A mapping of labels leads to whole numbers from 0 to 255.")
    if unlisted not in ("background", "error"):
        raise UsageError(f"unlisted={unlisted!r} is unknown: use 'background' or 'error'.")
    strict = unlisted == "error"
    file = Path(path)
    if not file.exists():
        raise InputError(f"There is no mask {file.name!r}: check the path.")
    if file.is_dir() or file.suffix.lower() in IMAGE_SUFFIXES:
        return _from_pictures(file, like, mapping, strict)
    values, affine = _voxels(file)
    labels = _labels(values, mapping, strict, edges=False)
    if not np.isfinite(like.affine).all():
        raise GeometryError("The scan is a folder of pictures without geometry: give its mask as a folder of pictures.")
    k, j, i = labels.shape
    _check_same_space(affine, (k, j, i), like)
    return regrid_labels(labels, affine, target=like.affine, shape=like.shape)


def _voxels(file: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    name = file.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            return read_nifti_voxels(file)
        if name.endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
            return read_itk_voxels(file)
    except GeometryError as error:
        why = error.findings[0] if error.findings else None
        if why is None:
            raise
        raise GeometryError(
            f"{why.message[:-1]} ({why.code}): save the mask {file.name!r} with the geometry of its scan.", (why,)
        ) from error
    raise InputError(f"The mask {file.name!r} is of no format that is read: give NIfTI, NRRD, MetaImage or PNG slices.")


def _from_pictures(path: Path, like: Volume, mapping: Mapping[int, int] | None, strict: bool) -> NDArray[np.uint8]:
    if not path.is_dir():
        raise InputError(f"The mask {path.name!r} is a single picture: give the folder with one picture per slice.")
    labels = _labels(stack_pixels(path), mapping, strict, edges=True)
    source = like.source or Source("array", like.shape, like.affine)
    if labels.shape != source.shape:
        raise GeometryError(
            f"The mask has {labels.shape} pixels (slices, rows, columns), the scan {source.shape}: they are not a pair."
        )
    if not np.isfinite(like.affine).all():
        return labels
    return regrid_labels(labels, source.affine, target=like.affine, shape=like.shape)


def _labels(values: NDArray[Any], mapping: Mapping[int, int] | None, strict: bool, *, edges: bool) -> NDArray[np.uint8]:
    """Labels of the result from the values of the file."""
    if values.dtype.kind not in "biu" and not np.array_equal(values, np.rint(values)):
        raise InputError("The mask holds values that are not whole numbers: save the labels, not probabilities.")
    low, high = float(values.min()), float(values.max())
    if mapping is None and low >= 0 and high <= 2:
        return values.astype(np.uint8)
    if mapping is not None:
        return _mapped(values, mapping, strict)
    if low >= 0 and high == 255:
        between = np.count_nonzero((values > 0) & (values < 255))
        if between <= (_EDGE_SHARE * values.size if edges else 0):
            return (values > 127).astype(np.uint8)
    raise InputError(f"The mask holds the labels {_listed(values)}, not 0, 1 and 2: say what they mean by mapping=.")


def _mapped(values: NDArray[Any], mapping: Mapping[int, int], strict: bool) -> NDArray[np.uint8]:
    """The labels that ``mapping`` names; the others are 0, or refused."""
    result = np.zeros(values.shape, dtype=np.uint8)
    named = 0
    for old, new in {0: 0, **mapping}.items():
        chosen = values == old
        named += int(np.count_nonzero(chosen))
        result[chosen] = new
    if strict and named < values.size:
        known = ", ".join(str(label) for label in sorted({0, *mapping}))
        raise InputError(
            f"The mask holds the labels {_listed(values)}; {known} are known: give the mask of this data set, or say "
            "what the others mean."
        )
    return result


def _listed(values: NDArray[Any]) -> str:
    """The labels of a mask in words, eight at most."""
    unique = np.unique(values)
    return ", ".join(f"{value:g}" for value in unique[:8]) + (", ..." if len(unique) > 8 else "")


def _check_same_space(affine: NDArray[np.float64], shape: tuple[int, int, int], like: Volume) -> None:
    """Compare the outer corners of the mask with those of the scan as stored, and as it is now."""
    source = like.source or Source("array", like.shape, like.affine)
    scans = [(source.affine, source.shape), (like.affine, like.shape)]
    excess = [_excess(affine, shape, *scan) for scan in scans]
    if min(excess) > 0:
        raise GeometryError(
            "Mask and scan do not cover the same part of space: their corners are "
            f"{min(excess):.1f} mm further apart than a voxel is long; give the mask of this very scan."
        )


def _excess(
    mask: NDArray[np.float64], mask_shape: tuple[int, int, int], scan: NDArray[np.float64], shape: tuple[int, int, int]
) -> float:
    """How many mm the corners of two grids are further apart along an axis than the longer of their voxels there."""
    mask_axes, scan_axes = canonical_axes(mask), canonical_axes(scan)
    mask, scan = mask_axes.affine(mask, mask_shape), scan_axes.affine(scan, shape)
    gap = corners(mask, mask_axes.shape(mask_shape)) - corners(scan, scan_axes.shape(shape))
    along = np.abs(gap @ (scan[:3, :3] / spacing_of(scan)))
    return float((along - np.maximum(spacing_of(mask), spacing_of(scan))).max())
