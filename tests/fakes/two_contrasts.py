"""Tiny volumes of which every second pair has low contrast."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from covidct.functional import ContrastSplit
from covidct.sample import Batch, Sample, collate
from tests.fakes.volumes import PREPROCESSING, TinyVolumes, TinyVolumesDataModule

if TYPE_CHECKING:
    from torch.utils.data import Dataset

LINE = 0.2


class TinyTwoContrasts(TinyVolumes):
    """Volumes with the key ``contrast``: 0.1 and 0.3 in turn, both classes on both sides."""

    def __getitem__(self, index: int) -> Sample:
        return {**super().__getitem__(index), "contrast": torch.tensor(0.1 + 0.2 * (index // 2 % 2))}


class TinyTwoContrastsDataModule(TinyVolumesDataModule):
    """The same volumes for every stage, and the line between the sides."""

    default_preprocessing = replace(PREPROCESSING, contrast="rms")
    contrast_split = ContrastSplit(LINE, "rms", 2, 2)

    def samples(self) -> Dataset[Sample]:
        return TinyTwoContrasts(self.count, classes=len(self.class_names))


def two_contrasts_batch(count: int = 4, *, size: int = 32) -> Batch:
    """One batch of unlike depths, both classes on both sides from four volumes on."""
    data = TinyTwoContrasts(count, size=size)
    return collate([data[index] for index in range(count)])
