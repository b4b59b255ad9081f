"""``read_slice_locations``: what the headers of a folder say of the place of each slice; no pixel is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidct.io.dicom_files import open_items
from covidct.io.dicom_slices import read_slices

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ("read_slice_locations",)


def read_slice_locations(path: str | os.PathLike[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read where slices lie: by the scanner's own count along the table, and in the patient.

    SliceLocation (0020,1041) is optional and relative, and its sign is the scanner's choice; positions are what
    :func:`covidct.io.read_scan` goes by.

    Args:
        path: a folder of single-frame DICOM files (sub-folders too), or a zip of them.

    Returns:
        (n,) SliceLocation in mm and (n, 3) position of the first pixel in LPS mm, one per slice in natural order of the
        file names, NaN where the header does not say; localizers and objects without pixels are left out.

    Raises:
        InputError: when the path does not exist, or a header is damaged.
    """
    with open_items(Path(path)) as items:
        slices = [one for item in items for one in read_slices(item) if one.shape[0] and not one.is_localizer]
    locations = [one.values.get("location", (np.nan,))[0] for one in slices]
    positions = [one.position or (np.nan,) * 3 for one in slices]
    return np.array(locations, dtype=np.float64), np.array(positions, dtype=np.float64).reshape(-1, 3)
