"""``read_scan`` and ``find_series``: one door for every format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from covidct.errors import InputError
from covidct.io.faults import check_on_fault
from covidct.io.info import SeriesInfo
from covidct.io.names import counted, natural_key
from covidct.io.raster import IMAGE_SUFFIXES, image_files, raster_info, read_raster_folder
from covidct.io.voxels import opened
from covidct.volume import Finding

if TYPE_CHECKING:
    import os

    from covidct.io.faults import OnFault
    from covidct.volume import Volume

__all__ = ("VOLUME_NAMES", "find_series", "read_scan", "read_scan_with_info")

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_NAMES = (*NIFTI, *ITK, ".zip")
"""Ends of the names of files that are volumes, or zips of them."""


def read_scan(path: str | os.PathLike[str], *, series: str | None = None, on_fault: OnFault = "error") -> Volume:
    """Read a scan: a DICOM folder, multi-frame file or zip, NIfTI, NRRD, MetaImage, or a folder of pictures.

    Args:
        path: file or folder. A folder is searched for DICOM with its sub-folders (volume files beside DICOM are left
            out, and recorded); without DICOM it may hold a single volume file, or the slices of one scan as pictures,
            at least three, in the natural order of their names.
        series: SeriesInstanceUID as :func:`find_series` gives it, needed where a folder or zip holds several series.
        on_fault: ``"error"`` refuses wrong geometry, ``"repair"`` mends what can be mended, ``"warn"`` goes on; all
            record what they found in ``Volume.findings``.

    Returns:
        The scan on the canonical LPS grid: (D, H, W), int16 or float32 in HU from -1024 (air) up, or float32 in [0, 1]
        with unknown spacing (``intensity="unit"``) from pictures; spacing in mm.

    Raises:
        GeometryError: for geometry that ``on_fault`` does not allow, and for several series without ``series``.
        ModalityError: for DICOM of another kind than CT.
        CodecError: for a compression that no installed decoder reads.
        InputError: for anything else that is no scan, or damaged; all are one sentence with what to do.
        UsageError: for an unknown ``on_fault``.
    """
    return read_scan_with_info(path, series=series, on_fault=on_fault)[0]


def read_scan_with_info(
    path: str | os.PathLike[str], *, series: str | None = None, on_fault: OnFault = "error"
) -> tuple[Volume, SeriesInfo | None]:
    """:func:`read_scan`, and what the headers of a DICOM series say, which are read once for both; None of others."""
    check_on_fault(on_fault)
    source = Path(path)
    if not source.exists():
        raise InputError(f"There is no file or folder {source}: check the path.")
    if source.is_file():
        return _read_file(source, series, on_fault)
    found = _volume_files(source)
    pictures = image_files(source)
    from covidct.io.dicom import dicom_info, read_dicom_with_info

    if not (found or pictures) or any(info.shape[1] for info in dicom_info(source)):
        volume, info = read_dicom_with_info(source, series=series, on_fault=on_fault)
        if not found or series is not None:
            return volume, info
        files = counted(len(found), "volume file (NIfTI, NRRD or MetaImage)", "volume files (NIfTI, NRRD or MetaImage)")
        return volume.with_findings(Finding("other_files", f"Left out beside the DICOM series: {files}.")), info
    _refuse_series(source, series)
    if len(found) == 1:
        return _read_file(found[0], series, on_fault)
    if found:
        names = ", ".join(file.name for file in found[:10]) + (", ..." if len(found) > 10 else "")
        raise InputError(f"The folder {source.name} holds {len(found)} scans ({names}): give one of these files.")
    return read_raster_folder(source), None


def find_series(path: str | os.PathLike[str]) -> list[SeriesInfo]:
    """List the scans in a file or folder from their headers; no pixel is decoded.

    Args:
        path: file or folder (with its sub-folders).

    Returns:
        DICOM series first, most slices first, then volume files and folders of pictures by name; where a file cannot be
        read, an entry of shape (0, 0, 0) says so.

    Raises:
        InputError: when the path does not exist, or a file that was named is no scan.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"There is no file or folder {source}: check the path.")
    from covidct.io.dicom import dicom_info

    if source.is_file():
        if _is_volume_file(source):
            return [_file_info(source)]
        infos = dicom_info(source)
        if not infos:
            raise _no_scan(source)
        return infos
    infos = dicom_info(source)
    for file in _volume_files(source):
        try:
            infos.append(_file_info(file))
        except InputError:
            infos.append(_unreadable(_format(file), file))
    folders = {file.parent for file in source.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES}
    for folder in sorted(folders, key=lambda folder: natural_key(str(folder))):
        if files := image_files(folder):
            try:
                infos.append(raster_info(folder))
            except InputError:
                infos.append(_unreadable("raster", *files))
    return infos


_FORMATS = "give a DICOM folder, file or zip, NIfTI, NRRD or MetaImage"


def _unreadable(kind: str, *files: Path) -> SeriesInfo:
    """An entry for what is there but cannot be read; why, the error tells when it is read by itself."""
    nan = float("nan")
    finding = Finding("unreadable_file", "This is damaged or no scan; read it by itself to learn why.", "refused")
    return SeriesInfo("", kind, "", (0, 0, 0), (nan, nan, nan), files, (finding,))


def _refuse_series(path: Path, series: str | None) -> None:
    if series is not None:
        raise InputError(f"There is no DICOM series {series} in {path.name}: leave out series= for other formats.")


def _format(path: Path) -> str:
    name = path.name.lower()
    return "nifti" if name.endswith(NIFTI) else "nrrd" if name.endswith(ITK[:2]) else "metaimage"


def _is_volume_file(path: Path) -> bool:
    return path.name.lower().endswith((*NIFTI, *ITK))


def _volume_files(folder: Path) -> list[Path]:
    named = (file for file in folder.rglob("*") if _is_volume_file(file) and not file.name.startswith("."))
    return sorted((file for file in named if file.is_file()), key=lambda file: natural_key(str(file)))


def _read_file(path: Path, series: str | None, on_fault: OnFault) -> tuple[Volume, SeriesInfo | None]:
    name = path.name.lower()
    if _is_volume_file(path):
        _refuse_series(path, series)
    if name.endswith(NIFTI):
        from covidct.io.nifti import read_nifti

        return read_nifti(path, on_fault=on_fault), None
    if name.endswith(ITK):
        from covidct.io.itk import read_itk

        return read_itk(path, on_fault=on_fault), None
    from covidct.io.dicom import read_dicom_with_info
    from covidct.io.dicom_files import is_zip
    from covidct.io.dicom_header import looks_like_dicom

    with opened(path) as file:
        is_dicom = looks_like_dicom(file.read(136))
    if is_dicom or is_zip(path):
        return read_dicom_with_info(path, series=series, on_fault=on_fault)
    raise _no_scan(path)


def _no_scan(path: Path) -> InputError:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return InputError(f"The file {path.name} is a single picture, not a scan: give the folder with all its slices.")
    return InputError(f"The file {path.name} is no scan in a format that can be read here: {_FORMATS}.")


def _file_info(path: Path) -> SeriesInfo:
    if path.name.lower().endswith(NIFTI):
        from covidct.io.nifti import nifti_info

        return nifti_info(path)
    from covidct.io.itk import itk_info

    return itk_info(path)
