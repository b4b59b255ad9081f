"""A data module of small X-rays in memory: class 0 is dark in the middle, the others the brighter the higher."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from covidct.preprocessing import Preprocessing
from covidct.sample import Batch, Sample, collate, stable_hash
from tests.fakes.volumes import TinyVolumesDataModule

PREPROCESSING = Preprocessing(kind="cxr", classes=("non_covid", "covid"), size=256, window=None, mask_source="none")
STATISTICS = (0.375, 0.125)


class TinyXRays(Dataset[Sample]):
    """X-rays of two or more classes, in turn."""

    def __init__(self, count: int = 4, *, size: int = 256, classes: int = 2) -> None:
        self.count = count
        self.size = size
        self.classes = classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(index)
        label, quarter = index % self.classes, self.size // 4
        image = 0.3 * torch.rand(1, self.size, self.size, generator=generator)
        image[:, quarter:-quarter, quarter:-quarter] += 0.6 * label / (self.classes - 1)
        return {
            "image": image,
            "label": torch.tensor(label),
            "scan": torch.tensor(stable_hash("xrays", str(index))),
            "subject": torch.tensor(stable_hash("xrays", "subject", str(index))),
            "id": f"xray-{index}",
        }


class TinyXRaysDataModule(TinyVolumesDataModule):
    """The same X-rays for every stage, with statistics that no calculation gives."""

    default_preprocessing = PREPROCESSING

    def samples(self) -> Dataset[Sample]:
        return TinyXRays(self.count, classes=len(self.class_names), size=self.preprocessing.size or 256)

    def image_statistics(self) -> tuple[float, float]:
        """Mean and standard deviation, as the data modules of the library have them."""
        return STATISTICS


def xrays_batch(count: int = 2, *, size: int = 256) -> Batch:
    """One batch of X-rays, of class 0 and 1 in turn."""
    data = TinyXRays(count, size=size)
    return collate([data[index] for index in range(count)])
