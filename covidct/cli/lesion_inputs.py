"""What ``covidct segment`` finds lesions in, and where each mask goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.errors import CovidctError, UsageError
from covidct.io.discover import discover, is_dicom

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from covidct.io import ScanInput

__all__ = ("LesionInput", "find_lesion_inputs", "name_targets")

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
"""Names of label maps, what :func:`covidct.io.write_mask` writes."""

OVERLAY = "_overlay"
"""End of the name of a mask's picture."""

_PICTURE = ".png"
_SCAN = ".nii.gz"
_ENDINGS = (".nii.gz", ".tar.gz")  # of two parts, which Path.stem takes one of


@dataclass(frozen=True, slots=True)
class LesionInput:
    """One scan, slice or picture, and the file of its mask.

    Attributes:
        path: what is read.
        kind: ``"scan"``, ``"slice"`` (a single DICOM slice) or ``"picture"``.
        series: SeriesInstanceUID where the path holds several series, else None.
        target: of the mask: PNG of a slice or picture, a label map of a scan.
    """

    path: Path
    kind: str
    series: str | None = None
    target: Path = Path()


def find_lesion_inputs(paths: Iterable[Path], *, series: str | None = None) -> list[LesionInput]:
    """Look through files and folders; each picture of a folder of pictures is an input of its own.

    Args:
        paths: files and folders, see :func:`covidct.io.discover`.
        series: take this series alone where a path holds several.

    Raises:
        UsageError: when a path does not exist, or nothing holds the series.
        InputError: when there is no scan in any of them.
    """
    found: list[LesionInput] = []
    for scan in discover(paths):
        if series is not None and scan.series not in (None, series):
            continue
        found += _inputs(scan, series)
    if not found:
        raise UsageError(f"There is no series {series} in what was named: leave --series out to see all.")
    return found


def _inputs(scan: ScanInput, series: str | None) -> list[LesionInput]:
    """The pictures of a folder, or the one scan, slice or picture."""
    from covidct.io import find_series
    from covidct.io.raster import IMAGE_SUFFIXES, image_files

    path = scan.path
    if path.is_dir():
        pictures = image_files(path)
        if not pictures or any(is_dicom(file) for file in path.iterdir() if file.is_file()):
            return [LesionInput(path, "scan", scan.series or series)]
        return [LesionInput(file, "picture") for file in pictures]
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return [LesionInput(path, "picture")]
    try:
        single = is_dicom(path) and sum(info.shape[0] for info in find_series(path)) == 1
    except CovidctError:
        single = False  # reading it will say why
    return [LesionInput(path, "slice" if single else "scan", scan.series or series)]


def name_targets(inputs: Sequence[LesionInput], out: Path) -> list[LesionInput]:
    """Give each input the file of its mask: OUT itself, or a file of its own in the folder OUT.

    Args:
        inputs: at least one.
        out: a file with the suffix of a mask, for one input; else a folder.

    Raises:
        UsageError: when OUT does not suit the inputs, or would lie among them.
    """
    name = out.name.lower()
    if not name.endswith((*VOLUME_SUFFIXES, _PICTURE)) or out.is_dir():
        return _in_folder(inputs, out)
    if len(inputs) > 1:
        raise UsageError(f"{out} is one file for the masks of {len(inputs)} inputs: name a folder.")
    (one,) = inputs
    suffixes = VOLUME_SUFFIXES if one.kind == "scan" else (_PICTURE,)
    if not name.endswith(suffixes):
        what = "scan" if one.kind == "scan" else "single slice"
        raise UsageError(f"The mask of a {what} is written as *{', *'.join(suffixes)}: name the output so, not {out}.")
    if out.exists() and out.resolve() == one.path.resolve():
        raise UsageError(f"{out} is the scan itself: name another file for the mask.")
    return [replace(one, target=out)]


def _in_folder(inputs: Sequence[LesionInput], out: Path) -> list[LesionInput]:
    """Files of a folder, named like their inputs, each name once."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file and no mask: name a folder, or a file *{_SCAN} or *{_PICTURE}.")
    if any(out.resolve() in (one.path.resolve(), one.path.resolve().parent) for one in inputs):
        raise UsageError(f"{out} holds the inputs themselves: name another folder for the masks.")
    named: list[LesionInput] = []
    taken: set[str] = set()
    for one in inputs:
        stem, number = _stem(one.path), 1
        while taken & (names := _names(name := stem if number == 1 else f"{stem}-{number}")):
            number += 1
        taken |= names
        named.append(replace(one, target=out / f"{name}{_SCAN if one.kind == 'scan' else _PICTURE}"))
    return named


def _names(name: str) -> set[str]:
    """A mask and its picture; in small letters, which are the same file to some systems."""
    return {name.lower(), f"{name}{OVERLAY}".lower()}


def _stem(path: Path) -> str:
    """Name without its suffix; the whole name of a folder."""
    if path.is_dir():
        return path.resolve().name
    lower = path.name.lower()
    return next((path.name[: -len(end)] for end in _ENDINGS if lower.endswith(end)), path.stem)
