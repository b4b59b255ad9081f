"""What every data set is: records without input or output, raw scans on demand, samples of the contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from covidct.errors import InputError
from covidct.functional import lesion_instances
from covidct.sample import Sample, stable_hash
from covidct.volume import Image, Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from covidct.labels import ClassMap, MaskType
    from covidct.sample import Kind
    from covidct.volume import Intensity

__all__ = ("BaseDataset", "Raw", "Record", "Split")

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one sample before its pixels are read; free of patient identity but for ``subject``.

    Attributes:
        id: unique in the data set, free of patient identity; goes into every prediction file.
        subject: the data set's own key of the patient. It never leaves the process: samples carry a hash of it.
        label: index of the class, -1 where unknown (such records are used for prediction, and by tasks that need no
            class).
        source: number of the scan or image the sample comes from; slices of one volume share it.
        slice: index of the axial slice, feet to head; None for whole volumes and images.
        split: part that the data set's own split puts the sample into; None without one.
        site: hospital or scanner, empty where unknown.
    """

    id: str
    subject: str
    label: int
    source: int
    slice: int | None = None
    split: Split | None = None
    site: str = ""


@dataclass(frozen=True, slots=True)
class Raw:
    """A scan or image as it was read, with the masks on its own grid.

    Attributes:
        scan: HU or [0, 1], see its ``intensity``; an :class:`~covidct.volume.Image` is always in [0, 1].
        lung_mask: uint8 of the scan's shape, 0 background, 1 right (or unsided) lung, 2 left lung; None without one.
        lesion_mask: uint8 of the scan's shape, 0 none, 1 ground-glass opacity, 2 consolidation; None without one.
        slice_label: (D,) int64 class of each axial slice, -1 unknown; None without one.
    """

    scan: Volume | Image
    lung_mask: NDArray[np.uint8] | None = None
    lesion_mask: NDArray[np.uint8] | None = None
    slice_label: NDArray[np.int64] | None = None


class BaseDataset(ABC, Dataset[Sample]):
    """Base of all data sets: a sequence of samples in native size and intensity.

    The constructor does no input or output and keeps no open file, so data sets pickle (spawned workers) and cost
    nothing until used. A subclass sets ``name``, ``kind``, ``intensity`` and ``classes`` and implements
    :meth:`make_records`, :meth:`load` and :meth:`content_key`.

    Attributes:
        name: name of the data set, part of every hash of subjects and scans.
        kind: column of the contract's table: ``"ct_slice"``, ``"ct_volume"`` or ``"cxr"``.
        intensity: ``"hu"`` or ``"unit"``, of the image of a sample.
        classes: how the data set's words become labels.
        mask_type: of slices whose lesions are objects to detect: which of them, and how they are classed; samples
            then carry ``instances``, made from ``lesion_mask``. None: there are no such objects.
        allow_subject_overlap: whether a split of its own may have one subject in two parts, which is an error else.
    """

    name: str
    kind: Kind
    intensity: Intensity
    classes: ClassMap
    mask_type: MaskType | None = None
    allow_subject_overlap: bool = False

    @abstractmethod
    def make_records(self) -> tuple[Record, ...]:
        """List all samples; called once, at the first use of :attr:`records`."""

    @abstractmethod
    def load(self, source: int) -> Raw:
        """Read scan or image number ``source`` (a record's ``source``).

        Raises:
            CovidctError: when it cannot be used; one sentence.
        """

    @abstractmethod
    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Hex digest of everything that :meth:`load` of ``source`` depends on: file contents, reading options.

        Args:
            source: number of the scan or image.
            digest: content digest of a file or folder, usually the method ``digest`` of
                :class:`covidct.io.ArrayCache`, which remembers.

        Returns:
            Hex digits; others as soon as any of that is another.
        """

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """All samples, in the data set's own order."""
        return self.make_records()

    @cached_property
    def slices(self) -> dict[int, list[int]]:
        """Slice indices of the samples of each source; sources that are whole volumes or images are absent."""
        slices: dict[int, list[int]] = {}
        for record in self.records:
            if record.slice is not None:
                slices.setdefault(record.source, []).append(record.slice)
        return slices

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, index = label."""
        return self.classes.names

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        """Sample ``index`` of the contract in native size; the image holds HU when ``intensity`` is ``"hu"``."""
        record = self.records[index]
        raw = self.load(record.source)
        sample = self.identity(record)
        if isinstance(raw.scan, Image):
            _fill_image(sample, raw, raw.scan)
        elif record.slice is None:
            _fill_volume(sample, raw, raw.scan)
        else:
            _fill_slice(sample, raw, raw.scan, record.slice)
        if self.mask_type is not None:
            if "lesion_mask" not in sample:
                raise InputError(f"The sample {record.id} has no lesion mask to take objects from: set mask_type=None.")
            sample["instances"] = lesion_instances(sample["lesion_mask"][0], mask_type=self.mask_type)
        return sample

    def identity(self, record: Record) -> Sample:
        """The keys of a ``record``'s sample that need no pixels: id, subject, scan, and label (-1 where unknown)."""
        return Sample(
            id=record.id,
            subject=torch.tensor(self.subject_hash(record)),
            scan=torch.tensor(self.scan_hash(record)),
            label=torch.tensor(record.label),
        )

    def subject_hash(self, record: Record) -> int:
        """Stable hash of (data set, patient of the ``record``)."""
        return stable_hash(self.name, record.subject)

    def scan_hash(self, record: Record) -> int:
        """Stable hash of (data set, scan of the ``record``)."""
        return stable_hash(self.name, str(record.source))


def _fill_volume(sample: Sample, raw: Raw, volume: Volume) -> None:
    """Add the tensors of a whole volume."""
    sample["image"] = torch.from_numpy(volume.array.astype(np.float32))[None]
    if raw.lung_mask is not None:
        sample["lung_mask"] = torch.from_numpy(raw.lung_mask)[None]
    if raw.lesion_mask is not None:
        sample["lesion_mask"] = torch.from_numpy(raw.lesion_mask)[None]
    if raw.slice_label is not None:
        sample["slice_label"] = torch.from_numpy(raw.slice_label)
    sample["spacing"] = torch.tensor(volume.spacing, dtype=torch.float32)
    sample["affine"] = torch.from_numpy(volume.affine.copy())


def _fill_slice(sample: Sample, raw: Raw, volume: Volume, index: int) -> None:
    """Add the tensors of one axial slice."""
    sample["image"] = torch.from_numpy(volume.array[index].astype(np.float32))[None]
    if raw.lung_mask is not None:
        sample["lung_mask"] = torch.from_numpy(raw.lung_mask[index].copy())[None]
    if raw.lesion_mask is not None:
        sample["lesion_mask"] = torch.from_numpy(raw.lesion_mask[index].copy())[None]
    if raw.slice_label is not None:
        sample["slice_label"] = torch.tensor(int(raw.slice_label[index]))
    sample["spacing"] = torch.tensor(volume.spacing[1:], dtype=torch.float32)
    sample["position"] = torch.tensor(index * volume.spacing[0] if volume.spacing[0] > 0 else index).float()


def _fill_image(sample: Sample, raw: Raw, image: Image) -> None:
    """Add the tensors of a 2-D image; colour axes come first."""
    pixels = image.array[None] if image.array.ndim == 2 else np.moveaxis(image.array, -1, 0)
    sample["image"] = torch.from_numpy(pixels.astype(np.float32))
    if raw.lung_mask is not None:
        sample["lung_mask"] = torch.from_numpy(raw.lung_mask)[None]
    if raw.lesion_mask is not None:
        sample["lesion_mask"] = torch.from_numpy(raw.lesion_mask)[None]
    if raw.slice_label is not None:
        sample["slice_label"] = torch.tensor(int(raw.slice_label[0]))
    sample["spacing"] = torch.tensor(image.spacing, dtype=torch.float32)
