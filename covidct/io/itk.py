"""Read NRRD and MetaImage, the formats of ITK, in one checked pass into one array.

ITK's own MetaImage reader fills what a damaged file lacks with zeros and only prints a line about it, and allocates
what a header claims; so ITK serves as the reference of the tests, and as the writer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import GeometryError
from covidct.io.affine import listed_faults, settle_grid, spacing_of
from covidct.io.faults import check_on_fault, settle
from covidct.io.hu import rescale, settle_intensity
from covidct.io.inflate import Inflater
from covidct.io.info import SeriesInfo
from covidct.io.itk_header import ItkHeader, read_itk_header
from covidct.io.voxels import opened, read_voxels
from covidct.volume import Finding, Source, Volume

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from covidct.io.faults import OnFault, Policy

__all__ = ("itk_info", "read_itk", "read_itk_voxels")


def read_itk(path: str | os.PathLike[str], *, on_fault: OnFault = "error") -> Volume:
    """Read a ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd`` scan onto the canonical LPS grid.

    The rules are those of :func:`covidct.io.nifti.read_nifti`: geometry that the header does not state is refused,
    and the values decide whether they are Hounsfield units.

    Args:
        path: the file.
        on_fault: ``"error"``, ``"repair"`` or ``"warn"``.

    Returns:
        A volume of int16 where the values are whole and fit, else float32; modality ``""``.

    Raises:
        GeometryError: for wrong or missing geometry.
        InputError: for a damaged file, another number of axes, colour, or values that are not HU.
    """
    check_on_fault(on_fault)
    header = read_itk_header(Path(path))
    stated = _orientation(header, on_fault)
    grid = settle_grid(rescale(_voxels(header)), header.affine, on_fault=on_fault)
    values, intensity, findings = settle_intensity(grid.array, stored=header.dtype, on_fault=on_fault)
    return Volume(
        array=values,
        affine=grid.affine,
        modality="",
        intensity=intensity,
        findings=(*stated, *grid.findings, *findings),
        source=Source(header.format, header.shape, header.affine),
    )


def read_itk_voxels(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read the values of an NRRD or MetaImage file as they are, for masks.

    Args:
        path: the file.

    Returns:
        (k, j, i) values, and the (4, 4) affine, voxel (i, j, k) to LPS mm.

    Raises:
        InputError: for a damaged file, or one that does not state its geometry.
    """
    header = read_itk_header(Path(path))
    _orientation(header, "error")
    return _voxels(header), header.affine


def itk_info(path: str | os.PathLike[str]) -> SeriesInfo:
    """Describe an NRRD or MetaImage file from its header alone.

    Args:
        path: the file.

    Raises:
        InputError: when the header is damaged.
    """
    header = read_itk_header(Path(path))
    findings = (*_orientation(header, "list"), *listed_faults(header.affine, header.shape))
    i, j, k = spacing_of(header.affine).tolist()
    return SeriesInfo("", header.format, "", header.shape, (k, j, i), (Path(path),), findings)


def _voxels(header: ItkHeader) -> NDArray[Any]:
    """The stored values (k, j, i) in an array of their own."""
    with opened(header.data) as raw:
        raw.seek(header.offset)
        stream = Inflater(raw) if header.compressed else raw
        return read_voxels(stream, header.shape, header.dtype)


def _orientation(header: ItkHeader, on_fault: Policy) -> tuple[Finding, ...]:
    if header.oriented:
        return ()
    message = f"the {header.format} header does not say how the axes lie in the body, so left and right are a guess"
    done = "read as rows to the left, columns to the back, slices to the head"
    return (settle("no_orientation", message, done, on_fault=on_fault, mendable=False, error=GeometryError),)
