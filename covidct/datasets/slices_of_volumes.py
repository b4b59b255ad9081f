"""``SlicesOfVolumes``: evenly spaced axial slices of any data set of CT volumes, for slice networks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.errors import InputError, UsageError
from covidct.io import cache_key
from covidct.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ("SlicesOfVolumes",)


class SlicesOfVolumes(BaseDataset):
    """Axial slices of the scans of a volume data set, as many of each scan, evenly spaced over its whole depth.

    A source is these slices as one volume, whose spacing along the body is the true distance between them. Subjects,
    sites and splits are the volumes', so that slices of one patient stay together; the label of a slice is that of its
    scan, and ``slice_label`` is the slice's own where the data set knows it.

    Made for data sets that give volumes only (:class:`covidct.datasets.COVID19CTSeg`, ``LUNA16``, ``PhantomLungs``)::

        dataset:
          class_path: covidct.datasets.SlicesOfVolumes
          init_args:
            volumes:
              class_path: covidct.datasets.COVID19CTSeg
              init_args:
                root: COVID-19-CT-Seg
    """

    kind = "ct_slice"

    def __init__(self, volumes: BaseDataset, *, slices_per_scan: int = 16) -> None:
        """Keep the data set; nothing is read yet.

        Args:
            volumes: a data set of kind ``"ct_volume"``.
            slices_per_scan: slices taken from each scan; a scan of fewer is refused when it is read.

        Raises:
            UsageError: when the data set has no volumes, or the number is below 1.
        """
        super().__init__()
        if volumes.kind != "ct_volume":
            raise UsageError(f"SlicesOfVolumes takes volumes, {type(volumes).__name__} is of kind {volumes.kind}.")
        if slices_per_scan < 1:
            raise UsageError(f"slices_per_scan={slices_per_scan} must be at least 1.")
        self.volumes = volumes
        self.slices_per_scan = slices_per_scan
        self.name = volumes.name
        self.intensity = volumes.intensity
        self.classes = volumes.classes

    def make_records(self) -> tuple[Record, ...]:
        """One record per slice, scan by scan, feet to head."""
        return tuple(
            replace(record, id=f"{record.id}-s{index:03d}", slice=index)
            for record in self.volumes.records
            for index in range(self.slices_per_scan)
        )

    def load(self, source: int) -> Raw:
        """Read scan ``source`` and keep the chosen slices of it.

        Raises:
            InputError: when it has fewer slices than asked for, or cannot be read.
        """
        raw = self.volumes.load(source)
        volume = raw.scan
        if not isinstance(volume, Volume):
            raise InputError(f"Source {source} of {type(self.volumes).__name__} is no volume: give a set of volumes.")
        depth, count = volume.shape[0], self.slices_per_scan
        if depth < count:
            raise InputError(f"A scan has {depth} slices, fewer than slices_per_scan={count}: ask for fewer.")
        step = depth // count
        first = (depth - 1 - step * (count - 1)) // 2
        chosen = first + step * np.arange(count)
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, 2] * first
        affine[:3, 2] *= step
        return Raw(
            replace(volume, array=np.ascontiguousarray(volume.array[chosen]), affine=affine, source=None),
            lung_mask=None if raw.lung_mask is None else raw.lung_mask[chosen],
            lesion_mask=None if raw.lesion_mask is None else raw.lesion_mask[chosen],
            slice_label=None if raw.slice_label is None else raw.slice_label[chosen],
        )

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the scan's own key and of the choice of slices."""
        whole = self.volumes.content_key(source, digest=digest)
        return cache_key(whole, config={"slices_per_scan": self.slices_per_scan}, version=1)

    def subject_hash(self, record: Record) -> int:
        """The volume's."""
        return self.volumes.subject_hash(record)

    def scan_hash(self, record: Record) -> int:
        """The volume's."""
        return self.volumes.scan_hash(record)
