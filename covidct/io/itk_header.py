"""The text headers of NRRD and MetaImage, the formats of ITK: kind, place and geometry of the voxels."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import InputError
from covidct.io.limits import check_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ("ItkHeader", "read_itk_header")

_LONGEST = 1 << 20  # bytes of a header; beyond, the file is not of this format

_NRRD_NAMES = {  # the NRRD format definition, "type"
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_NRRD_TYPES = {name: code for code, names in _NRRD_NAMES.items() for name in names.split(", ")}
_META_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"long_long": "i8", "ulong_long": "u8", "float": "f4", "double": "f8"},
}
_NRRD_SPACES = {"left-posterior-superior": "lps", "right-anterior-superior": "ras", "left-anterior-superior": "las"}
_TO_LPS = {"lps": (1.0, 1.0, 1.0), "ras": (-1.0, -1.0, 1.0), "las": (1.0, -1.0, 1.0)}


@dataclass(frozen=True, slots=True)
class ItkHeader:
    """What the header says about the voxels.

    Attributes:
        format: ``"nrrd"`` or ``"metaimage"``.
        shape: voxels along (k, j, i).
        dtype: type of the stored values, with its byte order.
        data: the file that holds them.
        offset: place of the first one, or of the compressed stream, in bytes.
        compressed: whether they are a gzip or zlib stream.
        affine: (4, 4) float64, voxel (i, j, k) to LPS mm; what the header does not state is ITK's default.
        oriented: whether the header states spacing and how the axes lie in the body.
    """

    format: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    data: Path
    offset: int
    compressed: bool
    affine: NDArray[np.float64]
    oriented: bool


def read_itk_header(path: Path) -> ItkHeader:
    """Read and check the header of a ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd`` file.

    Voxels may lie in the file itself or in one other file of the same folder, plain or compressed by zlib.

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
        reason = error.strerror or error
        raise InputError(f"The file {path.name!r} cannot be read ({reason}): check its path and rights.") from error
    except (KeyError, ValueError, OverflowError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        kind = "NRRD" if nrrd else "MetaImage"
        raise InputError(f"The {kind} header of {path.name!r} is damaged ({error}): export the file again.") from error


def _nrrd(path: Path, block: bytes) -> ItkHeader:
    end = re.search(rb"\r?\n\r?\n", block)
    text = _decoded(block[: end.start()] if end else block)
    if not text.startswith("NRRD000"):
        raise InputError(f"The file {path.name!r} is not NRRD: its first line is another.")
    pairs = (line.partition(": ") for line in text.splitlines()[1:] if not line.startswith("#"))
    fields = {name.strip().lower(): value.strip() for name, separator, value in pairs if separator}
    kind, encoding = fields["type"].lower(), fields["encoding"].lower()
    if kind not in _NRRD_TYPES:
        raise InputError(f"The NRRD type {kind!r} in {path.name!r} is not a number: a scan has one number per voxel.")
    if encoding not in ("raw", "gzip", "gz") or fields.get("line skip", "0") != "0":
        raise InputError(f"The NRRD encoding {encoding!r} of {path.name!r} is not read here: save it as raw or gzip.")
    code = _NRRD_TYPES[kind]
    dtype = np.dtype(("<" if code[1] == "1" or fields["endian"].lower() == "little" else ">") + code)
    shape = _three([int(n) for n in fields["sizes"].split()], path)
    affine, oriented = _nrrd_affine(fields)
    return _header(
        path,
        "nrrd",
        shape,
        dtype,
        data=fields.get("data file", fields.get("datafile")),
        start=end.end() if end else len(block),
        skip=int(fields.get("byte skip", "0")),
        compressed=encoding != "raw",
        affine=affine,
        oriented=oriented,
    )


def _nrrd_affine(fields: Mapping[str, str]) -> tuple[NDArray[np.float64], bool]:
    """Affine, and whether the header names the space it is in."""
    affine = np.eye(4)
    if "space directions" not in fields:
        spacing = [float(number) for number in fields.get("spacings", "").split()[:3]]
        affine[:3, :3] = np.diag(spacing if len(spacing) == 3 else [1.0] * 3)
        return affine, False
    vectors = _vectors(fields["space directions"])
    affine[:3, :3] = np.transpose(vectors[:3])
    if "space origin" in fields:
        affine[:3, 3] = _vectors(fields["space origin"])[0]
    space = fields.get("space", "").lower()
    space = _NRRD_SPACES.get(space, space)
    return np.diag([*_TO_LPS.get(space, (1.0, 1.0, 1.0)), 1.0]) @ affine, space in _TO_LPS


def _vectors(text: str) -> list[tuple[float, float, float]]:
    """The vectors of a field like ``(1,0,0) (0,1,0) (0,0,1) none``."""
    found = []
    for part in re.findall(r"\(([^()]*)\)", text):
        x, y, z = (float(number) for number in part.split(","))
        found.append((x, y, z))
    return found


def _meta(path: Path, block: bytes) -> ItkHeader:
    end = re.search(rb"ElementDataFile\s*=[^\n]*\n?", block)
    if end is None:
        raise InputError(f"The file {path.name!r} is not MetaImage: it has no line ElementDataFile.")
    pairs = (line.partition("=") for line in _decoded(block[: end.end()]).splitlines())
    fields = {name.strip().lower(): value.strip() for name, separator, value in pairs if separator}
    kind = fields["elementtype"].lower().removeprefix("met_")
    channels = int(fields.get("elementnumberofchannels", "1"))
    if kind not in _META_TYPES or channels != 1 or _states(fields, "binarydata", "f"):
        raise InputError(f"{path.name!r} holds {channels} x {kind!r} per voxel: a scan has one number, in binary form.")
    shape = _three([int(n) for n in fields["dimsize"].split()], path)
    affine, oriented = _meta_affine(fields)
    big = _states(fields, "binarydatabyteordermsb", "t") or _states(fields, "elementbyteordermsb", "t")
    data = fields["elementdatafile"]
    return _header(
        path,
        "metaimage",
        shape,
        np.dtype((">" if big else "<") + _META_TYPES[kind]),
        data=None if data.upper() == "LOCAL" else data,
        start=end.end(),
        skip=int(fields.get("headersize", "0")),
        compressed=_states(fields, "compresseddata", "t"),
        affine=affine,
        oriented=oriented,
    )


def _meta_affine(fields: Mapping[str, str]) -> tuple[NDArray[np.float64], bool]:
    """Affine, and whether the header states spacing and directions; each name has its older forms."""
    axes = int(fields["ndims"])
    if axes != len(fields["dimsize"].split()):
        raise InputError("The MetaImage header contradicts itself in NDims and DimSize: export the file again.")

    def numbers(*names: str) -> list[float] | None:
        text = next((fields[name] for name in names if name in fields), None)
        return None if text is None else [float(number) for number in text.split()]

    spacing = numbers("elementspacing")
    matrix = numbers("transformmatrix", "rotation", "orientation")
    origin = numbers("offset", "position", "origin")
    affine = np.eye(4)
    directions = np.eye(axes) if matrix is None else np.reshape(matrix, (axes, axes))
    affine[:3, :3] = directions[:3, :3].T * np.reshape(spacing or [1.0] * axes, (axes,))[:3]
    affine[:3, 3] = np.reshape(origin or [0.0] * axes, (axes,))[:3]
    return affine, not (spacing is None or matrix is None)


def _decoded(block: bytes) -> str:
    """Text of a header: UTF-8, in which names of data files are written today, else Latin-1."""
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError:
        return block.decode("latin-1")


def _states(fields: Mapping[str, str], name: str, letter: str) -> bool:
    """Whether a yes-or-no field is there and begins with a letter, ``t`` for True or ``f`` for False."""
    return fields.get(name, "").lower().startswith(letter)


def _header(
    path: Path,
    kind: str,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    *,
    data: str | None,
    start: int,
    skip: int,
    compressed: bool,
    affine: NDArray[np.float64],
    oriented: bool,
) -> ItkHeader:
    """Put together what both formats say in their own words, and check it against the file."""
    file, offset = (path, start) if data is None else (_beside(path, data), 0)
    held = file.stat().st_size
    if skip == -1 and not compressed:  # both formats: the voxels are the end of the file
        offset = held - math.prod(shape) * dtype.itemsize
    elif skip > 0:
        offset += skip
    elif skip < 0:
        raise InputError(f"The header of {path.name!r} skips {skip} bytes: export the file again.")
    check_size(shape, dtype.itemsize, held=max(0, held - max(0, offset)), compressed=compressed)
    if not np.isfinite(affine).all():
        raise InputError(f"The geometry in {path.name!r} holds numbers that are not finite: export the file again.")
    return ItkHeader(kind, shape, dtype, file, offset, compressed, affine, oriented)


def _three(sizes: list[int], path: Path) -> tuple[int, int, int]:
    """(k, j, i) of sizes (i, j, k, ...) whose further axes have length one."""
    if len(sizes) < 3 or any(n != 1 for n in sizes[3:]):
        size = " x ".join(str(n) for n in sizes)
        raise InputError(f"{path.name!r} has {len(sizes)} axes ({size}), a scan has three: give one volume.")
    return sizes[2], sizes[1], sizes[0]


def _beside(path: Path, data: str) -> Path:
    """The one data file that a header may name: in its own folder."""
    if Path(data).name != data or data.upper().startswith("LIST") or "%" in data:
        raise InputError(
            f"The header of {path.name!r} names the data file {data!r}: one in the same folder is allowed."
        )
    if not (path.parent / data).is_file():
        raise InputError(
            f"The header of {path.name!r} names the data file {data!r}, which is not beside it: copy both."
        )
    return path.parent / data
