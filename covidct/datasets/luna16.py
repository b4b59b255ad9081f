"""LUNA16: 888 chest CT scans with automatic lung masks, for lung segmentation."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.datasets.layout import find_folder, list_scans, settle_sides
from covidct.errors import ManifestError, UsageError
from covidct.io import cache_key, read_mask, read_scan
from covidct.io.faults import check_on_fault
from covidct.labels import class_map
from covidct.sample import stable_hash

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from covidct.io.faults import OnFault

__all__ = ("LUNA16",)

_LUNGS = {4: 1, 3: 2, 5: 0}
"""Codes of ``seg-lungs-LUNA16`` to ours: 4 right lung, 3 left lung, 5 trachea and bronchi. Recommendation, from
third-party readers: the publisher does not say. Every mask is checked against the patient axis."""


class LUNA16(BaseDataset):
    """LUNA16 (Setio et al., Medical Image Analysis 2017): scans of LIDC-IDRI with lung masks.

    The folder holds ``subset0`` to ``subset9`` (``<SeriesInstanceUID>.mhd`` with ``.raw``) and ``seg-lungs-LUNA16``
    with a mask of the same name for each. Scans thicker than 2.5 mm were excluded by the publisher. The masks were
    made by an automatic algorithm, not by hand: a score against them measures agreement with that algorithm.

    There is no diagnosis, all labels are -1, and no split. Records are called ``luna16-s3-0012`` (subset, place in
    the natural order of its UIDs); the UID is the subject. LIDC-IDRI has 1018 scans of 1010 patients, and the files
    do not tell which scans share a patient: a few may.
    """

    name = "luna16"
    kind = "ct_volume"
    intensity = "hu"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        subsets: Sequence[int] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
        classes: str | dict[str, str] = "covid_vs_rest",
        on_fault: OnFault = "error",
    ) -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder with the subsets and the masks.
            subsets: which of the ten subsets to use, 0 to 9.
            classes: names of the classes, of use only where the scans are joined with others that have some.
            on_fault: what to do with faulty geometry (:func:`covidct.io.read_scan`) and with masks of swapped sides.

        Raises:
            UsageError: when a subset does not exist or is given twice, or the classes are unknown.
        """
        super().__init__()
        self.subsets = tuple(subsets)  # YAML gives lists
        if not self.subsets or not set(self.subsets) <= set(range(10)) or len(set(self.subsets)) < len(self.subsets):
            raise UsageError(f"subsets={list(self.subsets)} is wrong: give numbers from 0 to 9, each once.")
        check_on_fault(on_fault)
        self.root = Path(root)
        self.classes = class_map(classes)
        self.on_fault = on_fault

    @cached_property
    def scans(self) -> tuple[tuple[int, Path, Path], ...]:
        """(subset, scan, mask) of every source."""
        masks = self._masks()
        found: dict[str, tuple[int, Path, Path]] = {}
        missing: list[str] = []
        for subset in self.subsets:
            folder = find_folder(self.root, [f"subset{subset}"], dataset="LUNA16")
            for scan in list_scans(folder, suffixes=(".mhd",)):
                if scan.stem in found:
                    raise ManifestError(
                        f"The scan {scan.stem} is in subset{found[scan.stem][0]} and again in subset{subset}: keep one."
                    )
                if scan.stem not in masks:
                    missing.append(scan.stem)
                    continue
                found[scan.stem] = (subset, scan, masks[scan.stem])
        if missing:
            raise ManifestError(
                f"{len(missing)} scan(s) of LUNA16 have no mask in seg-lungs-LUNA16, the first is {missing[0]}: unpack "
                "seg-lungs-LUNA16.zip completely."
            )
        if not found:
            raise ManifestError(f"There is no .mhd file in the subsets of {self.root}: unpack the subsets of LUNA16.")
        return tuple(found.values())

    def make_records(self) -> tuple[Record, ...]:
        """One record per scan, subset by subset.

        Raises:
            ManifestError: when a folder or mask is missing, or a scan is there twice.
        """
        numbers: Mapping[int, list[int]] = {
            subset: [source for source, scan in enumerate(self.scans) if scan[0] == subset] for subset in self.subsets
        }
        return tuple(
            Record(id=f"luna16-s{subset}-{number:04d}", subject=self.scans[source][1].stem, label=-1, source=source)
            for subset, sources in numbers.items()
            for number, source in enumerate(sources, start=1)
        )

    def load(self, source: int) -> Raw:
        """Read scan ``source`` with its lung mask; trachea and bronchi are background.

        Raises:
            InputError: when a file cannot be read, the mask holds an unknown code, or its sides are swapped.
        """
        _, scan, mask = self.scans[source]
        volume = read_scan(scan, on_fault=self.on_fault)
        lungs = read_mask(mask, volume, mapping=_LUNGS, unlisted="error")
        lungs, findings = settle_sides(lungs, on_fault=self.on_fault)
        return Raw(volume.with_findings(*findings), lung_mask=lungs)

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of scan and mask, and of ``on_fault``."""
        _, scan, mask = self.scans[source]
        return cache_key(digest(scan), digest(mask), config={"name": self.name, "on_fault": self.on_fault}, version=1)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, UID): the same whichever subsets are used."""
        return stable_hash(self.name, record.subject)

    def _masks(self) -> dict[str, Path]:
        """UID to mask."""
        masks: dict[str, Path] = {}
        for path in list_scans(find_folder(self.root, ["seg-lungs-LUNA16"], dataset="LUNA16"), suffixes=(".mhd",)):
            if masks.setdefault(path.stem, path) != path:
                raise ManifestError(f"seg-lungs-LUNA16 holds two masks of the scan {path.stem}: keep one.")
        return masks
