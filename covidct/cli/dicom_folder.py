"""The DICOM objects that ``covidct segment --dicom`` writes beside a mask."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from covidct.atomic import atomic_path
from covidct.errors import InputError
from covidct.volume import Image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from covidct.inference.result_files import FoundMasks
    from covidct.volume import Volume

__all__ = ("FOLDER", "make_objects", "mask_stem", "require_series", "write_objects")

FOLDER = "_dicom"
"""End of the name of the folder beside a mask: ``scan_dicom/`` beside ``scan.nii.gz``."""

_OBJECT = re.compile(r"(seg_lungs|seg_lesions|sr|sc_\d+)\.dcm")


def mask_stem(target: Path) -> str:
    """Name of a mask without its suffix: ``"scan"`` of ``scan.nii.gz``."""
    return target.name.removesuffix(".gz").removesuffix(".nii").removesuffix(target.suffix)


def require_series(scan: Volume | Image) -> None:
    """Refuse what no DICOM objects can be made of, before any work is done.

    Args:
        scan: as it was read.

    Raises:
        InputError: for anything but a DICOM series of three slices or more.
    """
    from covidct.inference.result_files import NO_SOURCE

    if isinstance(scan, Image) or scan.source is None or scan.source.format != "dicom":
        raise InputError(f"{NO_SOURCE.message[:-1]}: leave --dicom out.")
    if scan.shape[0] < 3:
        raise InputError("DICOM objects are made of whole series, not of a single slice: leave --dicom out.")


def make_objects(
    found: FoundMasks, path: Path, *, series: str | None, on_fault: Literal["error", "repair", "warn"]
) -> dict[str, bytes]:
    """Make segmentations, a report and pictures of masks.

    Args:
        found: the masks.
        path: what the scan was read from.
        series: as the scan was read.
        on_fault: as the scan was read.

    Returns:
        File name to content.

    Raises:
        InputError: when no objects can be made of the source.
    """
    from covidct.inference.result_files import dicom_objects, object_bytes
    from covidct.io import read_dicom_source

    objects = dicom_objects(found, read_dicom_source(path, series=series, on_fault=on_fault))
    return {name: object_bytes(made) for name, made in objects.items()}


def write_objects(objects: Mapping[str, bytes], target: Path) -> Path:
    """Write DICOM objects beside a mask; those of an earlier run are removed.

    Args:
        objects: of :func:`make_objects`.
        target: file of the mask.

    Returns:
        The folder that they are in.
    """
    folder = target.with_name(f"{mask_stem(target)}{FOLDER}")
    if folder.is_dir():
        for file in folder.iterdir():
            if _OBJECT.fullmatch(file.name):
                file.unlink()
    for name, content in objects.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return folder
