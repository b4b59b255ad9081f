"""CNCB (CC-CCII): chest CT scans as folders of slice images: COVID-19, common pneumonia and normal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.datasets.published_tables import read_columns
from covidct.errors import ManifestError
from covidct.io import cache_key, read_image, read_scan
from covidct.io.names import natural_key
from covidct.io.raster import image_files
from covidct.labels import class_map
from covidct.sample import stable_hash

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ("CNCBSlices", "CNCBVolumes")

_WORDS = ("NCP", "CP", "Normal")
_LESION_TABLE = "lesions_slices.csv"
_SCAN_TABLE = "unzip_filenames.csv"


@dataclass(frozen=True, slots=True)
class _Scan:
    """One scan; ``name`` is ``<class>_<patient>_<scan>``, as in the file names of COVIDx CT."""

    word: str
    patient: str
    scan: str
    folder: Path

    @property
    def name(self) -> str:
        """Name of the scan."""
        return f"{self.word}_{self.patient}_{self.scan}"

    @property
    def subject(self) -> str:
        """The patient; numbers of patients are taken to hold within a class only."""
        return f"{self.word}_{self.patient}"


class _CNCB(BaseDataset):
    """Scans of the download, and the tables beside them; what slices and volumes share."""

    name = "cncb"
    intensity = "unit"

    def __init__(self, root: str | os.PathLike[str], *, classes: str | dict[str, str]) -> None:
        super().__init__()
        self.root = Path(root)
        self.classes = class_map(classes)

    @cached_property
    def scans(self) -> tuple[_Scan, ...]:
        """The scans that are there: NCP, CP, Normal, in natural order of patient and scan."""
        if not self.root.is_dir():
            raise ManifestError(f"There is no folder {self.root}: give the folder that CNCB was unpacked into.")
        below = {folder.name.lower(): folder for folder in _folders(self.root)}
        found = tuple(
            _Scan(word, patient.name, scan.name, scan)
            for word in _WORDS
            if word.lower() in below
            for patient in _folders(below[word.lower()])
            for scan in _folders(patient)
            if image_files(scan)
        )
        if not found:
            raise ManifestError(
                f"There is no scan in {self.root}: give the folder with NCP, CP and Normal, and in them "
                "<patient>/<scan>/<slice>.png."
            )
        return found

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Scans of ``unzip_filenames.csv`` that are not there, as ``NCP/96/1328``: parts not downloaded or unpacked.

        Raises:
            ManifestError: when the table is missing or wrong.
        """
        rows = read_columns(self.root / _SCAN_TABLE, ("label", "patient_id", "scan_id"))
        here = {(scan.word.lower(), scan.patient, scan.scan) for scan in self.scans}
        listed = [(row["label"], row["patient_id"], row["scan_id"]) for row in rows]
        return tuple("/".join(one) for one in listed if (one[0].lower(), *one[1:]) not in here)

    @cached_property
    def _with_lesions(self) -> frozenset[tuple[str, str]] | None:
        """(scan, slice) of each line of ``lesions_slices.csv``; None without the table."""
        table = self.root / _LESION_TABLE
        if not table.is_file():
            return None
        found = set()
        for number, row in enumerate(read_columns(table, ("imgpath",)), start=1):
            parts = PurePosixPath(row["imgpath"].replace("\\", "/")).parts
            words = [word for word in _WORDS if parts and word.lower() == parts[0].lower()]
            if len(parts) != 4 or not words:
                raise ManifestError(
                    f"Row {number} of {_LESION_TABLE} is no path like NCP/96/1328/0032.png: {row['imgpath']!r}; give "
                    "the published file."
                )
            found.add((f"{words[0]}_{parts[1]}_{parts[2]}", PurePosixPath(parts[3]).stem))
        return frozenset(found)

    def _slice_label(self, scan: _Scan, stem: str) -> int:
        """Class of a slice: normal in normal scans, the scan's where lesions are listed, else unknown (-1)."""
        if scan.word == "Normal" or (self._with_lesions is not None and (scan.name, stem) in self._with_lesions):
            return self.classes.label(scan.word)
        return -1


class CNCBVolumes(_CNCB):
    """The scans of CC-CCII (Zhang et al., Cell 2020) as volumes of display values.

    The folder holds ``NCP`` (COVID-19), ``CP`` (common pneumonia) and ``Normal``, and in them
    ``<patient>/<scan>/<slice>.png`` (or jpg); a part of the download will do (see :attr:`missing`). Slices are taken
    in the natural order of their names, and nothing says whether that runs from feet to head; spacing is unknown.

    ``slice_label`` is normal in normal scans, the scan's class where ``lesions_slices.csv`` (optional, beside the
    folders) lists the slice, and unknown (-1) elsewhere. There is no split; a patient has one or more scans. Records
    are called ``NCP_96_1328``, numbers of the publisher.
    """

    kind = "ct_volume"

    def __init__(self, root: str | os.PathLike[str], *, classes: str | dict[str, str] = "three") -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder with ``NCP``, ``CP`` and ``Normal``.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from ncp, cp and normal to class names.

        Raises:
            UsageError: when the classes are unknown.
        """
        super().__init__(root, classes=classes)

    def make_records(self) -> tuple[Record, ...]:
        """One record per scan.

        Raises:
            ManifestError: when there is no scan.
        """
        return tuple(
            Record(id=scan.name, subject=scan.subject, label=self.classes.label(scan.word), source=source)
            for source, scan in enumerate(self.scans)
        )

    def load(self, source: int) -> Raw:
        """Read scan ``source``.

        Raises:
            GeometryError: when its slices differ in size, or are fewer than three.
            InputError: when a slice cannot be read.
        """
        scan = self.scans[source]
        labels = [self._slice_label(scan, file.stem) for file in image_files(scan.folder)]
        return Raw(read_scan(scan.folder), slice_label=np.array(labels, dtype=np.int64))

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the slices and of their classes."""
        scan = self.scans[source]
        files = image_files(scan.folder)
        labels = [self._slice_label(scan, file.stem) for file in files]
        config = {"name": self.name, "kind": self.kind, "labels": labels, "classes": dict(self.classes.merge)}
        return cache_key(*(digest(file) for file in files), config=config, version=1)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, scan), the same for volumes and slices."""
        return stable_hash(self.name, self.scans[record.source].name)


class CNCBSlices(_CNCB):
    """The slices of CC-CCII (Zhang et al., Cell 2020) one by one; folders, classes and names as :class:`CNCBVolumes`.

    ``label`` is the class of the scan, ``slice_label`` that of the slice.
    """

    kind = "ct_slice"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        lesion_slices_only: bool = False,
        classes: str | dict[str, str] = "three",
    ) -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder with ``NCP``, ``CP`` and ``Normal``.
            lesion_slices_only: of NCP and CP take only the slices that ``lesions_slices.csv`` lists, as COVIDx CT
                does; of Normal all.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from ncp, cp and normal to class names.

        Raises:
            UsageError: when the classes are unknown.
        """
        super().__init__(root, classes=classes)
        self.lesion_slices_only = lesion_slices_only

    @cached_property
    def slices_found(self) -> tuple[tuple[_Scan, Path], ...]:
        """Scan and file of every source."""
        if self.lesion_slices_only and self._with_lesions is None:
            raise ManifestError(
                f"There is no {_LESION_TABLE} in {self.root}, which lesion_slices_only=True needs: put it there."
            )
        found = tuple(
            (scan, file)
            for scan in self.scans
            for file in image_files(scan.folder)
            if not self.lesion_slices_only or self._slice_label(scan, file.stem) >= 0
        )
        if not found:
            raise ManifestError(f"No slice in {self.root} is listed in {_LESION_TABLE}: give the table of this data.")
        return found

    def make_records(self) -> tuple[Record, ...]:
        """One record per slice, scan by scan, in natural order of their names.

        Raises:
            ManifestError: when there is no scan, or the table of lesions is missing or wrong.
        """
        return tuple(
            Record(
                id=f"{scan.name}_{file.stem}",
                subject=scan.subject,
                label=self.classes.label(scan.word),
                source=source,
            )
            for source, (scan, file) in enumerate(self.slices_found)
        )

    def load(self, source: int) -> Raw:
        """Read slice ``source``.

        Raises:
            InputError: when it cannot be read.
        """
        scan, file = self.slices_found[source]
        label = np.array([self._slice_label(scan, file.stem)], dtype=np.int64)
        return Raw(read_image(file), slice_label=label)

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the slice and of its class."""
        scan, file = self.slices_found[source]
        config = {
            "name": self.name,
            "kind": self.kind,
            "label": self._slice_label(scan, file.stem),
            "classes": dict(self.classes.merge),
        }
        return cache_key(digest(file), config=config, version=1)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, scan), the same for volumes and slices."""
        return stable_hash(self.name, self.slices_found[record.source][0].name)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, hidden ones left out, in natural order."""
    found = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(found, key=lambda path: natural_key(path.name))
