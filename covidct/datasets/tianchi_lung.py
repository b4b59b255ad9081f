"""The chest CT scans of the Tianchi competitions: the negatives of the ResNeXt+ paper."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.datasets.layout import list_scans
from covidct.errors import ManifestError
from covidct.io import cache_key, read_scan
from covidct.io.faults import check_on_fault
from covidct.labels import class_map
from covidct.sample import stable_hash

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from covidct.io.faults import OnFault

__all__ = ("TianchiLung",)


class TianchiLung(BaseDataset):
    """Chest CT scans of the Tianchi lung competitions (MetaImage), all without COVID-19.

    The ResNeXt+ paper (section V.A) took its 282 negative volumes, 19,353 slices, from the lung diseases competition
    (``chestCT_round1``: ``train_part1`` to ``train_part5``, files called by numbers) and a lung nodule set
    (``train_subset00`` and on, ``LKDS-00001.mhd``); it does not say which. All ``.mhd`` files below the folder are
    used; the annotations of nodules and the like are not.

    These patients have nodules, calcifications, lymph nodes and other findings: ``normal`` means no pneumonia, not
    healthy. The competitions are older than COVID-19, so every slice is labelled normal. File names are the subjects;
    records are called ``tianchi-0001`` in natural order of the file names. There is no split.
    """

    name = "tianchi_lung"
    kind = "ct_volume"
    intensity = "hu"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        classes: str | dict[str, str] = "covid_vs_rest",
        on_fault: OnFault = "error",
    ) -> None:
        """Name the folder; it is listed at the first use of :attr:`records`.

        Args:
            root: folder with ``.mhd`` and ``.raw`` files, in folders of any depth.
            classes: ``"covid_vs_rest"``, ``"three"`` or a mapping from normal to a class name.
            on_fault: what to do with faulty geometry, see :func:`covidct.io.read_scan`.

        Raises:
            UsageError: when the classes are unknown.
        """
        super().__init__()
        check_on_fault(on_fault)
        self.root = Path(root)
        self.classes = class_map(classes)
        self.on_fault = on_fault

    @cached_property
    def scans(self) -> tuple[Path, ...]:
        """The scans, in natural order of their names."""
        found: dict[str, Path] = {}
        for path in list_scans(self.root, suffixes=(".mhd",)):
            if found.setdefault(path.stem, path) != path:
                raise ManifestError(
                    f"The scan {path.name} is in {found[path.stem].parent.name} and again in {path.parent.name}: keep "
                    "one."
                )
        if not found:
            raise ManifestError(f"There is no .mhd file below {self.root}: give the folder of the Tianchi scans.")
        return tuple(found.values())

    def make_records(self) -> tuple[Record, ...]:
        """One record per scan.

        Raises:
            ManifestError: when there is no scan, or one is there twice.
        """
        normal = self.classes.label("normal")
        return tuple(
            Record(id=f"tianchi-{source + 1:04d}", subject=path.stem, label=normal, source=source)
            for source, path in enumerate(self.scans)
        )

    def load(self, source: int) -> Raw:
        """Read scan ``source``; all its slices are normal."""
        volume = read_scan(self.scans[source], on_fault=self.on_fault)
        normal = self.classes.label("normal")
        return Raw(volume, slice_label=np.full(volume.shape[0], normal, dtype=np.int64))

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the scan, and of the arguments that change what is read."""
        config = {"name": self.name, "classes": dict(self.classes.merge), "on_fault": self.on_fault}
        return cache_key(digest(self.scans[source]), config=config, version=1)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, file name): the same whatever else lies in the folder."""
        return stable_hash(self.name, record.subject)
