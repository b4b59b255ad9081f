"""Labels of COVID-CT-MD: which row of the published arrays is whose, and which slice of a scan an entry belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from covidct.datasets.published_tables import read_columns
from covidct.errors import InputError, ManifestError
from covidct.labels import WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.volume import Volume

__all__ = (
    "LOBES",
    "Labels",
    "SliceOrder",
    "check_slice_order",
    "feet_to_head",
    "label_rows",
    "on_slices",
    "read_labels",
)

LOBES = ("LLL", "LUL", "RLL", "RML", "RUL")
"""Columns of the lobe labels: left lower, left upper, right lower, right middle, right upper (data set, README)."""

SliceOrder = Literal["descending", "ascending"]

_INDEX, _DIAGNOSIS = "label index", "diagnosis"


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The published labels.

    Attributes:
        rows: (class word, folder of the subject in lower case) to row of the arrays.
        slices: (cases, slices) 0 clean, 1 infected.
        lobes: (cases, slices, 5) the same by lobe; None without the file.
    """

    rows: Mapping[tuple[str, str], int]
    slices: NDArray[np.uint8]
    lobes: NDArray[np.uint8] | None


def read_labels(index: Path, slices: Path, lobes: Path) -> Labels:
    """Read the three files.

    Args:
        index: ``Index.csv``.
        slices: ``Slice-level-labels.npy``, (cases, slices).
        lobes: ``Lobe-level-labels.npy``, (cases, slices, 5); it may be missing.

    Raises:
        ManifestError: when a file is missing, cannot be read or holds other values, or the three do not fit together.
    """
    found = _read_array(slices, dims=2)
    by_lobe = _read_array(lobes, dims=3) if lobes.is_file() else None
    if by_lobe is not None and by_lobe.shape != (*found.shape, len(LOBES)):
        raise ManifestError(
            f"{lobes.name} has the shape {by_lobe.shape}, {slices.name} {found.shape}: give files of one version."
        )
    return Labels(label_rows(index, len(found)), found, by_lobe)


def label_rows(index: Path, count: int) -> dict[tuple[str, str], int]:
    """Row of the arrays of each labelled subject.

    A subject was withdrawn after the first release: label indices then skip 43. Arrays with a row for it are addressed
    by the index, arrays without by the subject's rank among the indices; the number of rows tells.

    Args:
        index: ``Index.csv``: label index, diagnosis, path, folder.
        count: rows of the arrays.

    Returns:
        (class word, folder in lower case) to row.

    Raises:
        ManifestError: when the table is wrong or does not fit the arrays.
    """
    folder = "folder/id" if index.is_file() and b"folder/id" in index.read_bytes()[:200].lower() else "folder"
    indices: dict[int, tuple[str, str]] = {}
    for number, row in enumerate(read_columns(index, (_INDEX, _DIAGNOSIS, folder)), start=1):
        word = WORDS.get(row[_DIAGNOSIS].lower())
        if not row[_INDEX].isdecimal() or word is None or int(row[_INDEX]) in indices:
            raise ManifestError(
                f"Row {number} of {index.name} has no label index and diagnosis of its own ({row[_INDEX]!r}, "
                f"{row[_DIAGNOSIS]!r}): give the published file."
            )
        indices[int(row[_INDEX])] = (word, row[folder].lower())
    if not indices or (count <= max(indices) and count != len(indices)):
        raise ManifestError(
            f"{index.name} lists {len(indices)} subjects with label indices up to {max(indices, default=0)}, the label "
            f"arrays have {count} rows: give files of one version."
        )
    if count > max(indices):
        return {subject: own for own, subject in indices.items()}
    return {indices[own]: rank for rank, own in enumerate(sorted(indices))}


def check_slice_order(labels: Labels, order: SliceOrder) -> None:
    """Hold the order that slices are taken to have against the lobes: upper lobes lie towards the head.

    Raises:
        ManifestError: when most labelled scans say otherwise.
    """
    if labels.lobes is None:
        return
    entries = np.arange(labels.slices.shape[1])
    upper, lower = (labels.lobes[list(labels.rows.values())][..., lobes].sum(-1) for lobes in ([1, 4], [0, 2]))
    both = upper.any(1) & lower.any(1)
    upper, lower = upper[both], lower[both]
    head_first = (upper @ entries) / upper.sum(1) < (lower @ entries) / lower.sum(1)
    if head_first.size and head_first.mean() != 0.5 and (head_first.mean() > 0.5) != (order == "descending"):
        other = "ascending" if order == "descending" else "descending"
        raise ManifestError(
            f"In the label arrays upper lobes come {'before' if order == 'ascending' else 'after'} lower lobes in most "
            f"of {head_first.size} scans, so their slices are not in {order} order: set slice_order={other!r}."
        )


def on_slices(
    values: NDArray[np.uint8],
    volume: Volume,
    *,
    locations: NDArray[np.float64],
    positions: NDArray[np.float64],
    order: SliceOrder,
    case: str,
) -> NDArray[np.int64]:
    """Bring one subject's row of an array to the slices of its scan.

    An entry belongs to the file whose slice location has its rank, and the file to the slice of the volume that lies
    where the file does: neither the names of files nor what was dropped or resampled matters.

    Args:
        values: (slices, ...) 0 or 1, padded with 0 beyond the scan.
        volume: the scan as it was read.
        locations: (n,) slice location of each file in mm.
        positions: (n, 3) LPS mm of each file.
        order: in which slice locations the entries run.
        case: the subject, for messages.

    Returns:
        (D, ...) 0 or 1; -1 for slices without a file, which were interpolated over a gap.

    Raises:
        InputError: when a header does not tell slice location or position.
        ManifestError: when there are too few entries, or entries of slices that are not there.
    """
    entries = _of_files(values, locations=locations, positions=positions, order=order, case=case)
    across = np.cross(volume.affine[:3, 0], volume.affine[:3, 1])
    normal = across / np.linalg.norm(across) * np.sign(across @ volume.affine[:3, 2])
    heights = (positions - volume.affine[:3, 3]) @ normal
    places, distinct = np.unique(np.round(heights, 2), return_inverse=True)
    if len(places) != volume.shape[0]:
        distinct = np.rint(heights / (volume.affine[:3, 2] @ normal)).astype(np.int64)
    inside = (distinct >= 0) & (distinct < volume.shape[0])
    found = np.full((volume.shape[0], *values.shape[1:]), -1, dtype=np.int64)
    np.maximum.at(found, distinct[inside], entries[inside])
    return found


def feet_to_head(
    values: NDArray[np.uint8],
    *,
    locations: NDArray[np.float64],
    positions: NDArray[np.float64],
    order: SliceOrder,
    case: str,
) -> NDArray[np.int64]:
    """One subject's row of an array in the order of the slices, by the headers alone: one entry per file.

    They are the entries of :func:`on_slices` where a scan has one slice per file.

    Args:
        values: as there.
        locations: as there.
        positions: as there.
        order: as there.
        case: as there.

    Returns:
        (n, ...) 0 or 1.

    Raises:
        InputError: as there.
        ManifestError: as there.
    """
    entries = _of_files(values, locations=locations, positions=positions, order=order, case=case)
    return entries[np.argsort(positions[:, 2], kind="stable")]


def _of_files(
    values: NDArray[np.uint8],
    *,
    locations: NDArray[np.float64],
    positions: NDArray[np.float64],
    order: SliceOrder,
    case: str,
) -> NDArray[np.int64]:
    """The entry of each file, in the order of the files; see :func:`on_slices`."""
    count = len(locations)
    if not np.isfinite(locations).all() or not np.isfinite(positions).all():
        raise InputError(
            f"A slice of {case} has no SliceLocation (0020,1041) or position, which the labels go by: download the "
            "subject again."
        )
    if count > len(values) or values[count:].any():
        raise ManifestError(
            f"The labels of {case} are of {len(values) if count > len(values) else 'more'} slices, the folder has "
            f"{count}: download the subject again, or give the label files of this version."
        )
    ranks = np.empty(count, dtype=np.int64)
    ranks[np.argsort(-locations if order == "descending" else locations, kind="stable")] = np.arange(count)
    return values[ranks].astype(np.int64)


def _read_array(file: Path, *, dims: int) -> NDArray[np.uint8]:
    """An array of 0 and 1."""
    if not file.is_file():
        raise ManifestError(f"There is no file {file}: give the file that comes with the data set.")
    try:
        array: NDArray[Any] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ManifestError(
            f"The labels {file.name} are no plain array of numbers ({str(error).splitlines()[0]}): download the file "
            "again; pickled objects are not read, since they can run code."
        ) from error
    if array.ndim != dims or array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise ManifestError(
            f"The labels {file.name} are of shape {array.shape} and type {array.dtype}, and should hold 0 and 1 in "
            f"{dims} dimensions: give the published file."
        )
    return array.astype(np.uint8)
