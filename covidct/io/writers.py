"""Write label maps as NIfTI, NRRD or MetaImage on the grid that the scan was read from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.atomic import atomic_path
from covidct.errors import CovidctError, GeometryError, UsageError
from covidct.io.affine import NOISE, SMALL_SHEAR, orthonormalised, shear, spacing_of
from covidct.io.regrid import regrid_labels
from covidct.volume import Source

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike, NDArray

    from covidct.volume import Volume

__all__ = ("as_labels", "write_mask")

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NIFTI = (".nii", ".nii.gz")
_ITK = (".nrrd", ".mha", ".mhd")
_SCANNER = 1  # NIfTI-1 standard: sform and qform code of scanner coordinates


def write_mask(mask: ArrayLike, like: Volume, path: str | os.PathLike[str]) -> None:
    """Write a label map on the original grid of the scan it belongs to, as uint8.

    A scan that was only reordered when it was read gets its mask back voxel by voxel; one that was resampled (gaps,
    gantry tilt) gets the nearest label. The file is whole or absent.

    Args:
        mask: (D, H, W) bool or integers 0..255 on the grid of ``like``.
        like: the scan; its ``source`` names the grid to write on, its own grid is taken where there is none.
        path: file to write; ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha`` or ``.mhd`` (the latter with its data file
            beside it).

    Raises:
        UsageError: for another suffix, shape or value.
        GeometryError: when the scan has no geometry, or a tilted one that the format cannot hold.
        CovidctError: when the file cannot be written.
    """
    target = Path(path)
    name = target.name.lower()
    if not name.endswith((*_NIFTI, *_ITK)):
        raise UsageError(f"The mask cannot be written as {target.name!r}: end the name with .nii.gz, .nrrd or .mha.")
    labels = as_labels(mask)
    if labels.shape != like.shape:
        raise UsageError(f"The mask has shape {labels.shape}, its scan {like.shape}: give the mask of this scan.")
    source = like.source or Source("array", like.shape, like.affine)
    if not (np.isfinite(source.affine).all() and np.isfinite(like.affine).all()):
        raise GeometryError(
            "The scan has no geometry (it was read from pictures), so its mask has none to be written in."
        )
    stored = regrid_labels(labels, like.affine, target=source.affine, shape=source.shape)
    write = _write_nifti if name.endswith(_NIFTI) else _write_itk
    try:
        write(stored, source.affine, target)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[-160:]
        raise CovidctError(f"The mask cannot be written to {target} ({reason}): make room or name another.") from error


def as_labels(mask: ArrayLike) -> NDArray[np.uint8]:
    """Check that values are labels.

    Args:
        mask: bool or integers, of any width.

    Returns:
        uint8, a view where nothing had to change.

    Raises:
        UsageError: for other values than 0..255.
    """
    array = np.asarray(mask)
    if array.dtype.kind not in "biu":
        raise UsageError(f"A mask holds whole numbers, this one is {array.dtype}: threshold it first.")
    if array.size and (array.min() < 0 or array.max() > 255):
        raise UsageError(f"A mask holds labels from 0 to 255, this one {array.min()} to {array.max()}.")
    return array.astype(np.uint8, copy=False)


def _write_nifti(labels: NDArray[np.uint8], affine: NDArray[np.float64], target: Path) -> None:
    """The sform holds any affine; the qform only right angles, so a sheared grid goes without one."""
    import nibabel

    kind: Any = nibabel.Nifti1Image  # its methods carry no types
    image = kind(labels.T, _LPS_TO_RAS @ affine)
    image.set_sform(_LPS_TO_RAS @ affine, code=_SCANNER)
    if shear(affine) <= NOISE:
        image.set_qform(_LPS_TO_RAS @ affine, code=_SCANNER)
    else:
        image.set_qform(None, code=0)
    image.header.set_xyzt_units("mm")
    with atomic_path(target) as temporary:
        nibabel.save(image, temporary)  # gzipped at level 1, without file name and time


def _write_itk(labels: NDArray[np.uint8], affine: NDArray[np.float64], target: Path) -> None:
    if shear(affine) > SMALL_SHEAR:
        raise GeometryError(
            f"The scan was taken with a tilted gantry, whose slanting grid {target.suffix} cannot hold: write .nii.gz."
        )
    straight = orthonormalised(affine, labels.shape)
    import SimpleITK

    sitk: Any = SimpleITK  # its methods carry no types
    image = sitk.GetImageFromArray(labels)
    spacing = spacing_of(straight)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((straight[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(straight[:3, 3].tolist())
    with atomic_path(target) as temporary:
        written = temporary.with_suffix(target.suffix.lower())  # ITK knows suffixes in small letters only
        sitk.WriteImage(image, str(written), useCompression=True)
        for data in [file for file in written.parent.iterdir() if file != written]:
            data.replace(target.parent / data.name)  # the voxels of .mhd go first, then the header
        written.rename(temporary)
