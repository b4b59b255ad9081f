"""Read NIfTI-1 and NIfTI-2 files: nibabel reads the header, the voxels come in one pass into one array."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.io.affine import listed_faults, settle_grid, spacing_of
from covidct.io.faults import check_on_fault
from covidct.io.hu import rescale, settle_intensity
from covidct.io.inflate import Inflater
from covidct.io.info import SeriesInfo
from covidct.io.limits import check_size
from covidct.io.nifti_header import HEADER_BYTES, NiftiHeader, parse_header
from covidct.io.voxels import opened, read_voxels
from covidct.volume import Source, Volume

if TYPE_CHECKING:
    from io import BufferedReader

    import numpy as np
    from numpy.typing import NDArray

    from covidct.io.faults import OnFault, Policy

__all__ = ("nifti_info", "read_nifti", "read_nifti_voxels")


def read_nifti(path: str | os.PathLike[str], *, on_fault: OnFault = "error") -> Volume:
    """Read a ``.nii`` or ``.nii.gz`` scan onto the canonical LPS grid.

    Exactly the named file is opened; a ``.nii`` beside a ``.nii.gz`` of the same stem plays no part. Geometry comes
    from the sform, else from the qform, as nibabel and FSL do; a file with neither is refused, since its left and
    right are a guess. Axes up to 1e-3 off right angles are straightened and recorded, beyond that the volume is
    refused, or resampled under ``"repair"``. NIfTI names no modality: the values decide
    (:func:`covidct.io.hu.settle_intensity`).

    Args:
        path: the file, NIfTI-1 or NIfTI-2, one file with header and voxels.
        on_fault: ``"error"``, ``"repair"`` or ``"warn"``.

    Returns:
        A volume of int16 where the values are whole and fit, else float32; modality ``""``.

    Raises:
        GeometryError: for wrong or missing geometry.
        InputError: for a damaged file, more than three axes, colour or complex values, or values that are not HU.
    """
    check_on_fault(on_fault)
    with opened(path) as raw:
        header, stored = _read(raw, on_fault=on_fault)
    grid = settle_grid(rescale(stored, header.slope, header.intercept), header.affine, on_fault=on_fault)
    del stored
    array, intensity, findings = settle_intensity(grid.array, stored=header.dtype, on_fault=on_fault)
    return Volume(
        array=array,
        affine=grid.affine,
        modality="",
        intensity=intensity,
        findings=(*header.findings, *grid.findings, *findings),
        source=Source("nifti", header.shape, header.affine),
    )


def read_nifti_voxels(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read the values of a NIfTI file as they are, for masks.

    Args:
        path: the file.

    Returns:
        (k, j, i) values after the header's scaling, and the (4, 4) affine, voxel (i, j, k) to LPS mm.

    Raises:
        InputError: for a damaged file.
    """
    with opened(path) as raw:
        header, stored = _read(raw, on_fault="error")
    if header.slope == 1 and header.intercept == 0:
        return stored, header.affine
    return rescale(stored, header.slope, header.intercept), header.affine


def nifti_info(path: str | os.PathLike[str]) -> SeriesInfo:
    """Describe a NIfTI file from its header alone.

    Args:
        path: the file.

    Raises:
        InputError: when the header is damaged, or claims more than the file holds.
    """
    with opened(path) as raw:
        header, _, _ = _start(raw, on_fault="list")
    findings = (*header.findings, *listed_faults(header.affine, header.shape))
    i, j, k = spacing_of(header.affine).tolist()
    return SeriesInfo("", "nifti", "", header.shape, (k, j, i), (Path(path),), findings)


def _is_gzip(raw: BufferedReader) -> bool:
    """By content, not by name: both .nii that are gzipped and .nii.gz that are not are about."""
    start = raw.read(2)
    raw.seek(0)
    return start == b"\x1f\x8b"


def _start(raw: BufferedReader, *, on_fault: Policy) -> tuple[NiftiHeader, BufferedReader | Inflater, bytes]:
    """Header, checked against the size of the file; the stream behind the first bytes, and these bytes."""
    held = os.fstat(raw.fileno()).st_size
    packed = _is_gzip(raw)
    stream = Inflater(raw) if packed else raw
    block = stream.read(HEADER_BYTES)
    header = parse_header(block, on_fault=on_fault)
    before = 0 if packed else header.offset
    check_size(header.shape, header.dtype.itemsize, held=held - before, compressed=packed)
    return header, stream, block


def _read(raw: BufferedReader, *, on_fault: OnFault) -> tuple[NiftiHeader, NDArray[Any]]:
    """Header, and the stored values (k, j, i) in an array of their own."""
    header, stream, block = _start(raw, on_fault=on_fault)
    start = block[header.offset :]  # an offset of 352 lies within the bytes that a NIfTI-2 header would have
    if header.offset > len(block):
        stream.read(header.offset - len(block))
    return header, read_voxels(stream, header.shape, header.dtype, start=start)
