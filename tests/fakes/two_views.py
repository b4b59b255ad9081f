"""A data module of tiny slices in memory with two views each: class 1 has a bright right half, class 0 a left one."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader, Dataset

from covidct.preprocessing import Preprocessing
from covidct.sample import Batch, Sample, collate, stable_hash
from tests.fakes.volumes import TinyVolumesDataModule

PREPROCESSING = Preprocessing(kind="ct_slice", classes=("non_covid", "covid"), size=40, mask_source="none")


class TinyViews(Dataset[Sample]):
    """Slices whose views are the slice under other noise; every second one is of class 1, and of its own subject."""

    def __init__(self, count: int = 4, *, size: int = 40, part: str = "train") -> None:
        self.count = count
        self.size = size
        self.part = part

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(2 * index + (self.part != "train"))
        label, half = index % 2, self.size // 2
        image = 0.4 * torch.rand(1, self.size, self.size, generator=generator)
        image[..., label * half : (label + 1) * half] += 0.4
        noise = 0.2 * torch.rand(2, 1, self.size, self.size, generator=generator)
        return {
            "image": image,
            "views": image + noise,
            "label": torch.tensor(label),
            "scan": torch.tensor(stable_hash("views", self.part, str(index))),
            "subject": torch.tensor(stable_hash("views", "subject", self.part, str(index))),
            "id": f"views-{self.part}-{index}",
        }


class TinyViewsDataModule(TinyVolumesDataModule):
    """Training slices, and other ones for every other stage."""

    default_preprocessing = PREPROCESSING

    def samples(self, part: str = "train") -> Dataset[Sample]:
        return TinyViews(self.count, part=part)

    def records(self, part: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(label=index % 2) for index in range(self.count)]

    def loader(self) -> DataLoader[Sample]:
        return DataLoader(self.samples("val"), batch_size=self.batch_size, collate_fn=collate)


def views_batch(count: int = 4, *, size: int = 40) -> Batch:
    """One batch of slices with their views."""
    data = TinyViews(count, size=size)
    return collate([data[index] for index in range(count)])
