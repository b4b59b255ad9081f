"""Chequered slices in memory, no two alike: the class is the half that is brighter on the whole."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from covidct.preprocessing import Preprocessing
from covidct.sample import Sample, collate, stable_hash
from covidct.transforms import TwoViews
from tests.fakes.volumes import TinyVolumesDataModule

_SIZE = 32


class Chequers(Dataset[Sample]):
    """Random grey squares; ``augmented`` adds two views, other ones at every access."""

    def __init__(self, count: int, *, part: str = "train", augmented: bool = False) -> None:
        self.count = count
        self.part = part
        crop = v2.RandomResizedCrop(_SIZE, scale=(0.8, 1.0), ratio=(0.9, 1.1), antialias=True)
        self.views = TwoViews(v2.Compose([crop, v2.ColorJitter(0.4, 0.4)])) if augmented else None
        self.draws = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((index, self.part == "val"))
        label = index % 2
        squares = rng.uniform(0, 0.8, (4, 4))
        squares[:, 2 * label : 2 * label + 2] += 0.2
        image = np.kron(squares, np.ones((_SIZE // 4, _SIZE // 4)))
        sample = Sample(
            image=torch.tensor(image, dtype=torch.float32)[None],
            label=torch.tensor(label),
            scan=torch.tensor(stable_hash(self.part, str(index))),
            subject=torch.tensor(stable_hash(self.part, str(index))),
            id=f"chequers-{self.part}-{index}",
        )
        if self.views is None:
            return sample
        self.draws += 1
        return self.views(sample, seed=(index, self.draws))


class ChequersDataModule(TinyVolumesDataModule):
    """Slices to train on with views, others to evaluate."""

    default_count = 96
    default_preprocessing = Preprocessing(
        kind="ct_slice", classes=("non_covid", "covid"), size=_SIZE, mask_source="none"
    )

    def samples(self, part: str = "train") -> Dataset[Sample]:
        return Chequers(self.count, part=part)

    def records(self, part: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(label=index % 2) for index in range(self.count)]

    def train_dataloader(self) -> DataLoader[Sample]:
        data, order = Chequers(self.count, augmented=True), torch.Generator().manual_seed(0)
        return DataLoader(data, batch_size=self.batch_size, shuffle=True, generator=order, collate_fn=collate)

    def loader(self) -> DataLoader[Sample]:
        return DataLoader(self.samples("val"), batch_size=self.batch_size, collate_fn=collate)
