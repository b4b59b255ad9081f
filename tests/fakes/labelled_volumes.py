"""A data module of tiny volumes in memory with slice labels: what a slice shows is bright, more so for class 2."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import torch

from covidct.preprocessing import Preprocessing
from covidct.sample import Batch, Sample, collate
from tests.fakes.volumes import TinyVolumes, TinyVolumesDataModule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch.utils.data import Dataset

PREPROCESSING = Preprocessing(kind="ct_volume", classes=("normal", "cap", "covid"), size=32)


class TinyLabelledVolumes(TinyVolumes):
    """The volumes of :class:`TinyVolumes` in three classes; i is the hash of subject i.

    The lowest slice shows no lung and is normal, the others are of the class of their volume; those numbered in
    ``unlabelled`` have no slice labels.
    """

    def __init__(self, count: int = 6, *, size: int = 32, classes: int = 3, unlabelled: Sequence[int] = ()) -> None:
        super().__init__(count, size=size, classes=classes)
        self.unlabelled = tuple(unlabelled)
        numbers = np.arange(count, dtype=np.int64)
        self.identities = {"subject": numbers, "label": numbers % classes}

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        sample["subject"] = torch.tensor(index)
        sample["slice_label"] = torch.from_numpy(self.slice_labels()[index])
        return sample

    def slice_labels(self) -> list[NDArray[np.int64]]:
        """As :meth:`covidct.datamodules.prepared.PreparedSamples.slice_labels`."""
        found = []
        for index in range(self.count):
            label = np.full(3 + index % 3, index % self.classes, dtype=np.int64)
            label[0] = 0
            found.append(np.full_like(label, -1) if index in self.unlabelled else label)
        return found


class TinyLabelledVolumesDataModule(TinyVolumesDataModule):
    """The same labelled volumes for every stage."""

    default_count = 6
    default_preprocessing = PREPROCESSING
    unlabelled: Sequence[int] = ()

    def samples(self, part: str = "train") -> Dataset[Sample]:
        return TinyLabelledVolumes(self.count, unlabelled=self.unlabelled)

    def records(self, part: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(label=index % 3) for index in range(self.count)]


def labelled_batch(count: int = 3, *, size: int = 32, unlabelled: Sequence[int] = ()) -> Batch:
    """One batch of unlike depths."""
    data = TinyLabelledVolumes(count, size=size, unlabelled=unlabelled)
    return collate([data[index] for index in range(count)])
