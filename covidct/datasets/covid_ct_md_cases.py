"""The subjects of COVID-CT-MD: folders of the download, and each one's rows of the label arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from covidct.datasets.covid_ct_md_labels import check_slice_order, read_labels
from covidct.datasets.layout import list_scans
from covidct.errors import ManifestError
from covidct.io.names import natural_key

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from covidct.datasets.covid_ct_md_labels import Labels, SliceOrder

__all__ = ("Case", "list_cases")

_FOLDERS = {
    word: tuple(f"{name} {what}".strip() for what in ("subjects", "cases", ""))
    for word, name in (("covid", "covid-19"), ("cap", "cap"), ("normal", "normal"))
}
"""Class to its folder, in lower case: the README says subjects, the archives say cases, Index.csv neither."""

_TABLE, _LOBES = "Index.csv", "Lobe-level-labels{}.npy"
_SLICES, _UPDATE = "Slice-level-labels{}.npy", "-updated-1"
_SUFFIX = ".dcm"


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One subject, and its rows of the label arrays, (slices,) and (slices, 5); None where it has none."""

    word: str
    folder: Path
    infected: NDArray[np.uint8] | None
    lobes: NDArray[np.uint8] | None

    @property
    def name(self) -> str:
        """``covid_P001``: class and published name, since an early release calls subjects of two classes alike."""
        return f"{self.word}_{self.folder.name}"

    @property
    def count(self) -> int:
        """Number of files."""
        return len(list_scans(self.folder, suffixes=(_SUFFIX,)))


def list_cases(root: Path, *, updated_labels: bool, slice_order: SliceOrder) -> tuple[Case, ...]:
    """List the subjects that are there: COVID-19, CAP, normal, in natural order of their names.

    Args:
        root: folder of the download.
        updated_labels: take the label files that the publishers corrected.
        slice_order: of the slice locations in the label arrays.

    Raises:
        ManifestError: when there is no scan, or the label files are wrong.
    """
    if not root.is_dir():
        raise ManifestError(f"There is no folder {root}: give the folder that COVID-CT-MD was unpacked into.")
    below = {folder.name.lower(): folder for folder in _folders(root)}
    labels = _labels(root, updated_labels=updated_labels, slice_order=slice_order)
    found = tuple(
        _case(word, subject, labels)
        for word, names in _FOLDERS.items()
        for name in names
        if name in below
        for subject in _folders(below[name])
        if any(path.suffix.lower() == _SUFFIX for path in subject.rglob("*"))
    )
    if not found:
        raise ManifestError(
            f"There is no scan in {root}: give the folder with 'COVID-19 subjects', 'Cap subjects' and 'Normal "
            "subjects', and in them <subject>/<slice>.dcm."
        )
    return found


def _labels(root: Path, *, updated_labels: bool, slice_order: SliceOrder) -> Labels | None:
    """The published labels; None without any of their files."""
    update = _UPDATE if updated_labels else ""
    table, slices, lobes = (root / name.format(update) for name in (_TABLE, _SLICES, _LOBES))
    if not (table.is_file() or slices.is_file() or lobes.is_file() or updated_labels):
        return None
    labels = read_labels(table, slices, lobes)
    check_slice_order(labels, slice_order)
    return labels


def _case(word: str, folder: Path, labels: Labels | None) -> Case:
    """A subject with its labels."""
    row = None if labels is None else labels.rows.get((word, folder.name.lower()))
    if row is None or labels is None:
        return Case(word, folder, None, None)
    return Case(word, folder, labels.slices[row], None if labels.lobes is None else labels.lobes[row])


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, hidden ones left out, in natural order."""
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(found, key=lambda path: natural_key(path.name))
