"""The header of a NIfTI file, read by nibabel and checked before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from covidct.errors import GeometryError, InputError
from covidct.io.affine import corners, spacing_of
from covidct.io.faults import settle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.io.faults import Policy
    from covidct.volume import Finding

_Header: TypeAlias = Any  # nibabel's header classes, whose methods carry no types

__all__ = ("HEADER_BYTES", "NiftiHeader", "parse_header")

HEADER_BYTES = 540
"""Bytes of a NIfTI-2 header; NIfTI-1 has 348."""

_MAX_OFFSET = 2**26  # header extensions hold notes and small tables; 64 MiB is far beyond any

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNIT_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI-1 standard, xyzt_units: 1 metre, 2 millimetre, 3 micrometre


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """What a NIfTI header says, checked.

    Attributes:
        shape: voxels along (k, j, i).
        dtype: type of the stored values, with its byte order.
        slope: factor of the stored values.
        intercept: summand.
        offset: place of the first voxel in the (uncompressed) file in bytes.
        affine: (4, 4) float64, voxel (i, j, k) to LPS mm.
        findings: what was odd about the geometry's statement.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    offset: int
    affine: NDArray[np.float64]
    findings: tuple[Finding, ...]


def parse_header(block: bytes, *, on_fault: Policy) -> NiftiHeader:
    """Read the first bytes of a NIfTI file.

    Args:
        block: the first :data:`HEADER_BYTES` bytes, fewer where the file is shorter.
        on_fault: what to do about missing or contradictory geometry.

    Raises:
        InputError: when this is no NIfTI header, or one of colour or complex values or of more than three axes.
        GeometryError: under ``"error"`` for missing or contradictory geometry.
    """
    from nibabel.spatialimages import HeaderDataError

    header = _nibabel_header(block)
    try:
        with np.errstate(all="ignore"):
            shape = _shape(tuple(int(n) for n in header.get_data_shape()))
            dtype = header.get_data_dtype()
            slope, intercept = header.get_slope_inter()
            offset = float(header["vox_offset"])
            affine, findings = _affine(header, shape, on_fault)
    except (HeaderDataError, ValueError, TypeError, KeyError, OverflowError, np.linalg.LinAlgError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The NIfTI header is damaged ({error}): export the file again.") from error
    if dtype.kind not in "iuf":
        kind = "colour" if dtype.fields else "complex" if dtype.kind == "c" else str(dtype)
        raise InputError(f"The NIfTI file holds {kind} values: a scan has one real number per voxel.")
    if not header.sizeof_hdr <= offset <= _MAX_OFFSET:
        raise InputError(f"The NIfTI header puts the voxels at byte {offset:g}: it is damaged, export the file again.")
    slope = 1.0 if slope is None else float(slope)
    intercept = 0.0 if intercept is None else float(intercept)
    return NiftiHeader(shape, dtype, slope, intercept, int(offset), affine, findings)


def _nibabel_header(block: bytes) -> _Header:
    """Header of the one-file form, NIfTI-1 or NIfTI-2, either byte order."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    kinds: tuple[tuple[_Header, int], ...] = ((Nifti1Header, 344), (Nifti2Header, 4))
    size = {block[:4], block[3::-1]} if len(block) >= 4 else set()
    for kind, magic_at in kinds:
        length = kind.sizeof_hdr
        if length.to_bytes(4, "little") not in size or len(block) < length:
            continue
        magic = block[magic_at : magic_at + 3]
        if magic in (b"ni1", b"ni2"):
            raise InputError(
                "The NIfTI header is of the form with voxels in another file: convert it to one .nii file."
            )
        if magic in (b"n+1", b"n+2"):
            return kind(block[:length], check=False)
    raise InputError("This is not a NIfTI file: its header is damaged, cut off, or of another format.")


def _shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(k, j, i) of a shape (i, j, k, ...) whose further axes have length one."""
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        size = " x ".join(str(n) for n in shape)
        advice = "give the whole scan" if len(shape) < 3 else "cut out one volume of the series first"
        raise InputError(f"The NIfTI file has {len(shape)} axes ({size}), a scan has three: {advice}.")
    return shape[2], shape[1], shape[0]


def _affine(
    header: _Header, shape: tuple[int, int, int], on_fault: Policy
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """Affine to LPS mm by nibabel's policy (sform, else qform, else a guess), and what is odd about it."""
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    findings: list[Finding] = []
    if not by_sform and not by_qform:
        message = "the NIfTI header states no orientation (qform and sform code 0), so left and right are a guess"
        done = "read as rows to the left, columns to the front, slices to the head"
        findings.append(settle("no_orientation", message, done, on_fault=on_fault, mendable=False, error=GeometryError))
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    if not np.isfinite(affine).all():
        raise GeometryError("The affine of the NIfTI header holds numbers that are not finite: export the file again.")
    if by_sform and by_qform:
        findings += _agreement(affine, header, shape, on_fault)
    scale = np.diag([_UNIT_MM.get(int(header["xyzt_units"]) & 7, 1.0)] * 3 + [1.0])
    return _RAS_TO_LPS @ scale @ affine, tuple(findings)


def _agreement(
    affine: NDArray[np.float64], header: _Header, shape: tuple[int, int, int], on_fault: Policy
) -> list[Finding]:
    """Compare sform and qform. They may differ when they name different spaces, not when they name the same one."""
    qform = np.asarray(header.get_qform(), dtype=np.float64)
    gap = float(np.linalg.norm(corners(affine, shape) - corners(qform, shape), axis=1).max())
    if gap <= 0.5 * float(spacing_of(affine).min()):
        return []
    message = f"sform and qform put the corners of the volume up to {gap:.2f} apart"
    same_space = int(header["sform_code"]) == int(header["qform_code"])
    rule: Policy = on_fault if same_space else "warn"
    done = "the sform was taken"
    return [settle("qform_sform", message, done, on_fault=rule, mendable=False, error=GeometryError)]
