"""COVID-CT-MD: chest CT scans in DICOM with labels of slices and lobes: COVID-19, pneumonia and normal."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.datasets.covid_ct_md_cases import list_cases
from covidct.datasets.covid_ct_md_labels import feet_to_head, on_slices
from covidct.errors import CovidctError, InputError, ManifestError, UsageError
from covidct.io import cache_key, read_scan
from covidct.io.faults import check_on_fault
from covidct.io.slice_locations import read_slice_locations
from covidct.labels import class_map
from covidct.sample import stable_hash

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

    from covidct.datasets.covid_ct_md_cases import Case
    from covidct.datasets.covid_ct_md_labels import SliceOrder
    from covidct.io.faults import OnFault
    from covidct.volume import Volume

__all__ = ("COVIDCTMDSlices", "COVIDCTMDVolumes")


class _COVIDCTMD(BaseDataset):
    """Subjects of the download and their labels; what slices and volumes share."""

    name = "covid_ct_md"
    intensity = "hu"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        updated_labels: bool,
        slice_order: SliceOrder,
        classes: str | dict[str, str],
        on_fault: OnFault,
    ) -> None:
        super().__init__()
        if slice_order not in ("descending", "ascending"):
            raise UsageError(f"slice_order={slice_order!r} is unknown: use 'descending' or 'ascending'.")
        check_on_fault(on_fault)
        self.root = Path(root)
        self.updated_labels = updated_labels
        self.slice_order = slice_order
        self.classes = class_map(classes)
        self.on_fault = on_fault

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The subjects that are there: COVID-19, CAP, normal, in natural order of their names."""
        return list_cases(self.root, updated_labels=self.updated_labels, slice_order=self.slice_order)

    def lobe_labels(self, source: int) -> NDArray[np.int64] | None:
        """Which lobes are infected in each slice of scan ``source``; reads the scan.

        Returns:
            (D, 5) int64, feet to head; columns left lower, left upper, right lower, right middle, right upper lobe;
            1 infected, 0 not, -1 unknown. None for subjects without such labels.

        Raises:
            InputError: when the scan cannot be read or lacks slice locations.
        """
        case = self.cases[source]
        return None if case.lobes is None else self._on_slices(case.lobes, case, self._read(case))

    def _read(self, case: Case) -> Volume:
        return read_scan(case.folder, on_fault=self.on_fault)

    def _load(self, case: Case) -> Raw:
        """Read a scan with the classes of its slices."""
        volume = self._read(case)
        if case.infected is None:
            return Raw(volume, slice_label=np.full(volume.shape[0], self._class_of_all(case), dtype=np.int64))
        infected = self._on_slices(case.infected, case, volume)
        return Raw(volume, slice_label=self._classes_of(case)[infected])

    def _class_of_all(self, case: Case) -> int:
        """The class of every slice of a scan without slice labels; -1 unknown."""
        return self.classes.label("normal") if case.word == "normal" else -1

    def _classes_of(self, case: Case) -> NDArray[np.int64]:
        """Classes of a scan's clean slices, of its infected ones, and of those that nobody labelled."""
        return np.array([self.classes.label("normal"), self.classes.label(case.word), -1], dtype=np.int64)

    def _on_slices(self, values: NDArray[np.uint8], case: Case, volume: Volume) -> NDArray[np.int64]:
        locations, positions = read_slice_locations(case.folder)
        return on_slices(
            values, volume, locations=locations, positions=positions, order=self.slice_order, case=case.name
        )

    def _record(self, source: int, case: Case) -> Record:
        return Record(id=case.name, subject=case.name, label=self.classes.label(case.word), source=source)

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the scan, of its labels, and of the arguments that change what is read."""
        case = self.cases[source]
        config = {
            "name": self.name,
            "word": case.word,
            "infected": None if case.infected is None else np.flatnonzero(case.infected).tolist(),
            "slice_order": self.slice_order,
            "classes": dict(self.classes.merge),
            "on_fault": self.on_fault,
        }
        return cache_key(digest(case.folder), config=config, version=1)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, subject), the same for volumes and slices; a subject has one scan."""
        return stable_hash(self.name, record.subject)


class COVIDCTMDVolumes(_COVIDCTMD):
    """The scans of COVID-CT-MD (Afshar et al., Scientific Data 2021) in Hounsfield units.

    The folder holds ``COVID-19 subjects``, ``Cap subjects`` and ``Normal subjects`` (or ``... cases``), and in them
    ``<subject>/<slice>.dcm``; a part of the download will do. Published are 171, 60 and 76 subjects, 169 COVID-19 since
    two were withdrawn. Slices are put in order by their position, whatever the files are called.

    ``Index.csv``, ``Slice-level-labels.npy`` and ``Lobe-level-labels.npy`` in the folder label the slices of 55 (54)
    COVID-19 and 25 CAP subjects: an infected slice has its subject's class, a clean one is normal, and slices of other
    subjects are unknown (-1). All slices of normal subjects are normal. Label indices that skip 43 are known. There is
    no split, and a subject has one scan. Records are called ``covid_P001``, by the published names.
    """

    kind = "ct_volume"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        updated_labels: bool = False,
        slice_order: SliceOrder = "descending",
        classes: str | dict[str, str] = "three",
        on_fault: OnFault = "error",
    ) -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder of the download.
            updated_labels: take ``Slice-level-labels-updated-1.npy`` and its like, in which the publishers corrected
                two subjects in 2021.
            slice_order: of the slice locations (0020,1041) in the label arrays. The README says that slices are sorted
                by it; that the order is descending is taken from the publishers' programs (CT-CAPS, COVID-FACT). Lobe
                labels that say otherwise are refused.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from covid, cap and normal to class names.
            on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.

        Raises:
            UsageError: when an argument is wrong.
        """
        super().__init__(
            root, updated_labels=updated_labels, slice_order=slice_order, classes=classes, on_fault=on_fault
        )

    def make_records(self) -> tuple[Record, ...]:
        """One record per scan.

        Raises:
            ManifestError: when there is no scan, or the label files are wrong.
        """
        return tuple(self._record(source, case) for source, case in enumerate(self.cases))

    def load(self, source: int) -> Raw:
        """Read scan ``source`` with the classes of its slices.

        Raises:
            InputError: when it cannot be read, its geometry is refused, or labels cannot be assigned.
        """
        return self._load(self.cases[source])


class COVIDCTMDSlices(_COVIDCTMD):
    """The slices of COVID-CT-MD one by one, feet to head; folders, labels and names as :class:`COVIDCTMDVolumes`.

    ``label`` is the class of the slice, as ``slice_label``: the subject's where the slice is infected, normal where it
    is clean, -1 where it is unknown. Slices of unknown class are left out by data modules; with ``labels="scan"`` all
    have the class of their subject.
    """

    kind = "ct_slice"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        labels: Literal["slice", "scan"] = "slice",
        labelled_only: bool = False,
        updated_labels: bool = False,
        slice_order: SliceOrder = "descending",
        classes: str | dict[str, str] = "three",
        on_fault: OnFault = "error",
    ) -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder of the download.
            labels: whose class ``label`` is: ``"slice"``, the slice's own, for which the headers of the labelled scans
                are read once; or ``"scan"``, the subject's, which a clean slice does not show.
            labelled_only: take only subjects whose slices have a class: the labelled ones and the normal ones.
            updated_labels: as for :class:`COVIDCTMDVolumes`.
            slice_order: as there.
            classes: ``"three"``, ``"covid_vs_rest"`` or a mapping from covid, cap and normal to class names.
            on_fault: as there.

        Raises:
            UsageError: when an argument is wrong.
        """
        super().__init__(
            root, updated_labels=updated_labels, slice_order=slice_order, classes=classes, on_fault=on_fault
        )
        if labels not in ("slice", "scan"):
            raise UsageError(f"labels={labels!r} is unknown: use 'slice' or 'scan'.")
        self.labels = labels
        self.labelled_only = labelled_only

    def make_records(self) -> tuple[Record, ...]:
        """One record per slice, scan by scan; no pixel is read.

        Raises:
            ManifestError: when there is no scan, or the label files are wrong; with ``labels="slice"`` also when nobody
                but normal subjects has slices of known class.
        """
        ill = [case for case in self.cases if case.word != "normal"]
        if self.labels == "slice" and ill and all(case.infected is None for case in ill):
            raise ManifestError(
                f"No subject in {self.root} has slice labels, so only normal slices have a known class: add Index.csv "
                "and Slice-level-labels.npy of the data set, or give each slice the class of its scan by labels='scan'."
            )
        return tuple(
            Record(f"{whole.id}-s{index:04d}", whole.subject, label, source, slice=index)
            for source, case in enumerate(self.cases)
            if not self.labelled_only or case.infected is not None or case.word == "normal"
            for whole in [self._record(source, case)]
            for index, label in enumerate(self._labels(case))
        )

    def _labels(self, case: Case) -> list[int]:
        """The labels of a scan's slices, feet to head; unknown where :meth:`load` will say why it cannot tell them."""
        if self.labels == "scan":
            return [self.classes.label(case.word)] * case.count
        if case.infected is None:
            return [self._class_of_all(case)] * case.count
        try:
            locations, positions = read_slice_locations(case.folder)
            infected = feet_to_head(
                case.infected, locations=locations, positions=positions, order=self.slice_order, case=case.name
            )
        except CovidctError:
            return [-1] * case.count
        found: list[int] = self._classes_of(case)[infected].tolist()
        return found if len(found) == case.count else [-1] * case.count

    def load(self, source: int) -> Raw:
        """Read scan ``source`` with the classes of its slices.

        Raises:
            InputError: when it cannot be read, its geometry is refused, labels cannot be assigned, or it has more or
                fewer slices than files.
        """
        case = self.cases[source]
        raw = self._load(case)
        depth, count = raw.scan.array.shape[0], case.count
        if depth != count:
            raise InputError(
                f"The scan {case.name} has {depth} slices in {count} files: take the files that are no slice of it out "
                "of the folder."
            )
        return raw
