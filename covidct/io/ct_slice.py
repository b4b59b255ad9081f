"""``read_ct_slice``: a single DICOM slice of a CT scan in Hounsfield units, for networks that see slices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import InputError, ModalityError
from covidct.io.codecs import require_codec
from covidct.io.dicom_files import Item
from covidct.io.dicom_pixels import read_hu
from covidct.io.dicom_slices import read_slices
from covidct.io.hu import looks_like_hu
from covidct.volume import Finding, Source, Volume

if TYPE_CHECKING:
    import os

    from covidct.io.dicom_slices import Slice

__all__ = ("read_ct_slice",)

_AXIAL = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])  # rows run to the patient's left, columns to the back
_TURNED = 0.9  # least cosine with these directions: 25 degrees, more than a gantry tilts or a head turns


def read_ct_slice(path: str | os.PathLike[str]) -> Volume:
    """Read one axial DICOM slice as a volume of one.

    Args:
        path: a file of a single frame.

    Returns:
        (1, H, W) float32 in HU, in-plane spacing known where the header has it, that along the body unknown (NaN).

    Raises:
        ModalityError: for another kind than CT, and for several frames.
        CodecError: for an unknown compression.
        InputError: when the file is no DICOM image, damaged, not axial, or holds no Hounsfield units.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"There is no file {file}: check the path.")
    slices = read_slices(Item(file, file.stat().st_size))
    if not slices or not slices[0].shape[0]:
        raise InputError(f"The file {file.name} is no DICOM image: give a slice of a CT series.")
    one = slices[0]
    if len(slices) > 1 or one.frames > 1:
        raise ModalityError(f"The file {file.name} holds {one.frames} frames: read it as a scan.")
    _check(one)
    require_codec(one)
    hu = np.empty((1, *one.shape), np.float32)
    read_hu([one], hu)
    if not np.isfinite(hu).all() or not looks_like_hu(hu):
        raise InputError(f"The values of {file.name} are not the Hounsfield units of a body: give a CT slice.")
    rows, columns = one.pixel_spacing or (np.nan, np.nan)
    affine = np.diag([columns, rows, np.nan, 1.0])
    told = Finding("single_slice", "A single slice has no place along the body and no distance to the next one.")
    return Volume(hu, affine, one.modality, "hu", (told,), Source("dicom", (1, *one.shape), affine))


def _check(one: Slice) -> None:
    """Refuse what is no axial CT slice, as far as the header tells."""
    if one.modality not in ("CT", "") or one.is_colour or one.is_localizer:
        kind = "a localizer" if one.is_localizer else f"of modality {one.modality}"
        raise ModalityError(f"The file {one.name} is {kind}, not an axial slice of a CT scan: give one.")
    fault = one.fault()
    if fault:
        raise InputError(f"The file {one.name} cannot be read: {fault}; copy it again.")
    if one.orientation is not None:
        directions = np.array(one.orientation)
        if min(directions[:3] @ _AXIAL[:3], directions[3:] @ _AXIAL[3:]) < _TURNED:
            raise InputError(
                f"The file {one.name} is no axial slice as radiologists view it (patient's right on the left, front "
                "on top): give the whole series, which is brought into this position."
            )
