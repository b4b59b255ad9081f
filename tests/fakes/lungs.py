"""A data module of tiny cubes in memory for segmentation: two dark boxes in a bright body, no class known."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from covidct.preprocessing import Preprocessing
from covidct.sample import Batch, Sample, collate, stable_hash
from tests.fakes.volumes import TinyVolumesDataModule

PREPROCESSING = Preprocessing(kind="ct_volume", classes=("unknown",), size=16, mask_source="file")


class TinyLungs(Dataset[Sample]):
    """Cubes whose lungs lie a little elsewhere each time; the last two slices are outside the scan."""

    def __init__(self, count: int = 4, *, size: int = 16) -> None:
        self.count = count
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(index)
        size, lift = self.size, index % 2
        mask = torch.zeros(1, size, size, size, dtype=torch.uint8)
        low, high = size // 4, size - size // 4
        mask[:, low : high + lift, low - lift : high, 1 : size // 2 - 1] = 1
        mask[:, low:high, low : high - lift, size // 2 + 1 : size - 1] = 2
        inside = torch.arange(size) < size - 2
        image = 0.7 + 0.2 * torch.rand(mask.shape, generator=generator) - 0.6 * (mask > 0)
        return {
            "image": image * inside[:, None, None],
            "lung_mask": mask,
            "label": torch.tensor(-1),
            "scan": torch.tensor(stable_hash("lungs", str(index))),
            "subject": torch.tensor(stable_hash("lungs", "subject", str(index))),
            "slice_mask": inside,
            "spacing": torch.tensor([2.0, 1.0, 1.5]),
            "id": f"lungs-{index}",
        }


class TinyLungsDataModule(TinyVolumesDataModule):
    """The same cubes for every stage."""

    default_preprocessing = PREPROCESSING

    def samples(self) -> Dataset[Sample]:
        return TinyLungs(self.count)


def lungs_batch(count: int = 2, *, size: int = 16) -> Batch:
    """One batch of cubes."""
    data = TinyLungs(count, size=size)
    return collate([data[index] for index in range(count)])
