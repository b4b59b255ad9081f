"""The text headers of NRRD and MetaImage, as far as they must be checked before ITK may allocate what they claim."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.errors import InputError
from covidct.io.limits import check_size

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("ItkHeader", "read_itk_header")

_LONGEST = 1 << 20  # bytes of a header; beyond, the file is not of this format

_NRRD_BYTES = {
    1: "signed char, int8, int8_t, uchar, unsigned char, uint8, uint8_t",
    2: "short, short int, signed short, signed short int, int16, int16_t, ushort, unsigned short, unsigned short int, "
    "uint16, uint16_t",
    4: "int, signed int, int32, int32_t, uint, unsigned int, uint32, uint32_t, float",
    8: "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t, ulonglong, "
    "unsigned long long, unsigned long long int, uint64, uint64_t, double",
}
_NRRD_TYPES = {name: size for size, names in _NRRD_BYTES.items() for name in names.split(", ")}
_META_TYPES = {"char": 1, "short": 2, "int": 4, "float": 4, "long": 8, "long_long": 8, "double": 8}
_NRRD_SPACES = {"lps", "ras", "las", "left-posterior-superior", "right-anterior-superior", "left-anterior-superior"}
_META_DIRECTIONS = ("transformmatrix", "rotation", "orientation")


@dataclass(frozen=True, slots=True)
class ItkHeader:
    """What was read from the header itself; geometry is left to ITK.

    Attributes:
        format: ``"nrrd"`` or ``"metaimage"``.
        shape: voxels along (k, j, i).
        oriented: whether the header says how the axes lie in the body.
    """

    format: str
    shape: tuple[int, int, int]
    oriented: bool


def read_itk_header(path: Path) -> ItkHeader:
    """Read and check the header of a ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd`` file.

    Voxels may lie in the file itself or in one other file of the same folder, plain or gzipped.

    Args:
        path: the file.

    Raises:
        InputError: when the header is damaged, claims more than its file can hold, has other than three axes or more
            than one value per voxel, or names a data file elsewhere.
    """
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    try:
        with path.open("rb") as file:
            block = file.read(_LONGEST)
        return _nrrd(path, block) if nrrd else _meta(path, block)
    except OSError as error:
        raise InputError(f"The file {path.name!r} cannot be read: {error.strerror or error}.") from error
    except (KeyError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        kind = "NRRD" if nrrd else "MetaImage"
        raise InputError(f"The {kind} header of {path.name!r} is damaged ({error}): export the file again.") from error


def _nrrd(path: Path, block: bytes) -> ItkHeader:
    end = re.search(rb"\r?\n\r?\n", block)
    text = (block[: end.start()] if end else block).decode("latin-1")
    if not text.startswith("NRRD000"):
        raise InputError(f"The file {path.name!r} is not NRRD: its first line is another.")
    pairs = (line.partition(": ") for line in text.splitlines()[1:] if not line.startswith("#"))
    fields = {name.strip().lower(): value.strip() for name, separator, value in pairs if separator}
    sizes = [int(n) for n in fields["sizes"].split()]
    kind = fields["type"].lower()
    if kind not in _NRRD_TYPES:
        raise InputError(f"The NRRD type {kind!r} in {path.name!r} is not a number: a scan has one number per voxel.")
    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise InputError(f"The NRRD encoding {encoding!r} of {path.name!r} is not read here: save it as raw or gzip.")
    shape = _three(sizes, path)
    data = fields.get("data file", fields.get("datafile"))
    held = _held(path, end.end() if end else len(block), data)
    check_size(shape, _NRRD_TYPES[kind], held=held, compressed=encoding != "raw")
    oriented = fields.get("space", "").lower() in _NRRD_SPACES and "space directions" in fields
    return ItkHeader("nrrd", shape, oriented)


def _meta(path: Path, block: bytes) -> ItkHeader:
    end = re.search(rb"ElementDataFile\s*=[^\n]*\n?", block)
    if end is None:
        raise InputError(f"The file {path.name!r} is not MetaImage: it has no line ElementDataFile.")
    pairs = (line.partition("=") for line in block[: end.end()].decode("latin-1").splitlines())
    fields = {name.strip().lower(): value.strip() for name, separator, value in pairs if separator}
    kind = fields["elementtype"].lower().removeprefix("met_")
    channels = int(fields.get("elementnumberofchannels", "1"))
    if kind.removeprefix("u") not in _META_TYPES or channels != 1:
        raise InputError(f"{path.name!r} holds {channels} x {kind!r} per voxel: a scan has one number.")
    shape = _three([int(n) for n in fields["dimsize"].split()], path)
    if int(fields["ndims"]) != len(fields["dimsize"].split()):
        raise InputError(f"The MetaImage header of {path.name!r} contradicts itself in NDims and DimSize.")
    data = fields["elementdatafile"]
    held = _held(path, end.end(), None if data.upper() == "LOCAL" else data)
    compressed = _is_true(fields, "compresseddata")
    check_size(shape, _META_TYPES[kind.removeprefix("u")], held=held, compressed=compressed)
    oriented = any(name in fields for name in _META_DIRECTIONS) and "elementspacing" in fields
    return ItkHeader("metaimage", shape, oriented)


def _is_true(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "").lower() in ("true", "t", "1")


def _three(sizes: list[int], path: Path) -> tuple[int, int, int]:
    """(k, j, i) of sizes (i, j, k, ...) whose further axes have length one."""
    if len(sizes) < 3 or any(n != 1 for n in sizes[3:]):
        size = " x ".join(str(n) for n in sizes)
        raise InputError(f"{path.name!r} has {len(sizes)} axes ({size}), a scan has three: give one volume.")
    return sizes[2], sizes[1], sizes[0]


def _held(path: Path, start: int, data: str | None) -> int:
    """Bytes that are there for the voxels."""
    if data is None:
        return path.stat().st_size - start
    if Path(data).name != data or data.upper().startswith("LIST") or "%" in data:
        raise InputError(
            f"The header of {path.name!r} names the data file {data!r}: one file in the same folder is allowed."
        )
    if not (path.parent / data).is_file():
        raise InputError(
            f"The header of {path.name!r} names the data file {data!r}, which is not beside it: copy both."
        )
    return (path.parent / data).stat().st_size
