"""A data module of tiny slices in memory: two dark boxes in a bright body, every third slice without."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from covidct.preprocessing import Preprocessing
from covidct.sample import Batch, Sample, collate, stable_hash
from tests.fakes.volumes import TinyVolumesDataModule

PREPROCESSING = Preprocessing(kind="ct_slice", classes=("unknown",), size=32, mask_source="file")


class TinyLungSlices(Dataset[Sample]):
    """Slices of two scans in turn, whose lungs lie a little elsewhere each time."""

    def __init__(self, count: int = 4, *, size: int = 32) -> None:
        self.count = count
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(index)
        size = self.size
        mask = torch.zeros(1, size, size, dtype=torch.uint8)
        if index % 3 < 2:
            low, high = size // 4 + index % 2, size - size // 4
            mask[:, low:high, 1 : size // 2 - 1] = 1
            mask[:, low:high, size // 2 + 1 : size - 1] = 2
        image = 0.7 + 0.2 * torch.rand(mask.shape, generator=generator) - 0.6 * (mask > 0)
        return {
            "image": image,
            "lung_mask": mask,
            "label": torch.tensor(-1),
            "scan": torch.tensor(stable_hash("lung-slices", str(index % 2))),
            "subject": torch.tensor(stable_hash("lung-slices", "subject", str(index % 2))),
            "spacing": torch.tensor([2.0, 1.5]),
            "id": f"lung-slices-{index}",
        }


class TinyLungSlicesDataModule(TinyVolumesDataModule):
    """The same slices for every stage."""

    default_preprocessing = PREPROCESSING

    def samples(self) -> Dataset[Sample]:
        return TinyLungSlices(self.count)


def lung_slices_batch(count: int = 2, *, size: int = 32) -> Batch:
    """One batch of slices."""
    data = TinyLungSlices(count, size=size)
    return collate([data[index] for index in range(count)])
