"""Several data sets as one: the paper's negatives from one source and positives from another, each with its site."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.errors import InputError, ManifestError, UsageError
from covidct.io import cache_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ("Cohort",)

Annotation = Literal["lung_mask", "lesion_mask", "slice_label"]
_ANNOTATIONS: tuple[Annotation, ...] = ("lung_mask", "lesion_mask", "slice_label")


class Cohort(BaseDataset):
    """Data sets of one kind, intensity and list of classes, one behind the other.

    Subjects, scans and ids stay those of their data set: two data sets never share a subject. ``site`` is the
    record's own, else the name of its data set, so that a data module can hold one site out
    (``hold_out_site``). The cohort of the ResNeXt+ paper (section V.A) is::

        Cohort([TianchiLung(negatives), COVID19CTSeg(positives)], annotations=["slice_label"])

    There the class goes with the source: a network may tell the sources apart and never look at the disease.
    """

    def __init__(self, datasets: Sequence[BaseDataset], *, annotations: Sequence[Annotation] = ()) -> None:
        """Join data sets; nothing is read yet.

        Args:
            datasets: at least one; their ``name`` must differ.
            annotations: what every scan of all of them has beside image and label, of ``"lung_mask"``,
                ``"lesion_mask"`` and ``"slice_label"``. The rest is dropped: all samples have the same keys, and a
                mask that only the positives have would give the class away. With ``"lesion_mask"`` the lesions of all
                are objects of the same kind (``mask_type``), or of none; without it there are no objects.

        Raises:
            UsageError: when the data sets do not fit together, or an annotation is unknown.
        """
        super().__init__()
        self.datasets = tuple(datasets)
        self.annotations = tuple(annotations)
        if not self.datasets:
            raise UsageError("A cohort needs at least one data set: datasets=[] is empty.")
        unknown = sorted(set(self.annotations) - set(_ANNOTATIONS))
        if unknown:
            raise UsageError(f"annotations={unknown[0]!r} is unknown: use {', '.join(_ANNOTATIONS)}.")
        first = self.datasets[0]
        alike = ("kind", "intensity", "class_names", *(("mask_type",) if "lesion_mask" in self.annotations else ()))
        for other in self.datasets[1:]:
            for what in alike:
                if getattr(other, what) != getattr(first, what):
                    raise UsageError(
                        f"{first.name} and {other.name} are of unlike {what.replace('_', ' ')} "
                        f"({getattr(first, what)} and {getattr(other, what)}): a cohort is made of like data sets."
                    )
        twice = [name for name, count in Counter(dataset.name for dataset in self.datasets).items() if count > 1]
        if twice:
            raise UsageError(
                f"Two data sets of the cohort are called {twice[0]!r}, so their subjects cannot be told apart: name "
                "tables differently by name=, put the folders of a published data set into one."
            )
        self.name = "+".join(dataset.name for dataset in self.datasets)
        self.kind = first.kind
        self.intensity = first.intensity
        self.classes = first.classes
        self.mask_type = first.mask_type if "lesion_mask" in self.annotations else None

    def make_records(self) -> tuple[Record, ...]:
        """The records of all data sets, in order.

        Raises:
            ManifestError: when two records get the same id.
        """
        records = tuple(
            replace(
                record,
                id=record.id if record.id.startswith(f"{dataset.name}-") else f"{dataset.name}-{record.id}",
                subject=f"{dataset.name}/{record.subject}",
                source=record.source + start,
                site=record.site or dataset.name,
            )
            for dataset, start in zip(self.datasets, self._starts, strict=False)
            for record in dataset.records
        )
        twice = [name for name, count in Counter(record.id for record in records).items() if count > 1]
        if twice:
            raise ManifestError(f"The id {twice[0]} would stand for two samples: give the data sets other names.")
        return records

    def load(self, source: int) -> Raw:
        """Read scan ``source`` from its data set, with the promised annotations and no others.

        Raises:
            InputError: when a promised annotation is not there.
        """
        dataset, own = self._member(source)
        raw = dataset.load(own)
        missing = [name for name in self.annotations if getattr(raw, name) is None]
        if missing:
            raise InputError(
                f"A scan of {dataset.name} has no {missing[0].replace('_', ' ')}, which annotations= promises: leave "
                f"{missing[0]!r} out of it."
            )
        return Raw(raw.scan, **{name: getattr(raw, name) for name in self.annotations})

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the data set's own key and of the annotations."""
        dataset, own = self._member(source)
        key = dataset.content_key(own, digest=digest)
        return cache_key(key, config={"annotations": sorted(self.annotations)}, version=1)

    def subject_hash(self, record: Record) -> int:
        """The hash that the record's own data set gives the patient."""
        dataset, own = self._own(record)
        return dataset.subject_hash(own)

    def scan_hash(self, record: Record) -> int:
        """The hash that the record's own data set gives the scan."""
        dataset, own = self._own(record)
        return dataset.scan_hash(own)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """Number of the first source of each data set, and the number of all."""
        counts = (1 + max((record.source for record in dataset.records), default=-1) for dataset in self.datasets)
        return tuple(accumulate(counts, initial=0))

    def _member(self, source: int) -> tuple[BaseDataset, int]:
        """The data set of a source, and its own number for it."""
        place = bisect_right(self._starts, source) - 1
        return self.datasets[place], source - self._starts[place]

    def _own(self, record: Record) -> tuple[BaseDataset, Record]:
        """The data set of a record, and the record with the data set's own subject and source."""
        dataset, source = self._member(record.source)
        return dataset, replace(record, subject=record.subject.removeprefix(f"{dataset.name}/"), source=source)
