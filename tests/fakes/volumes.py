"""A data module of tiny volumes in memory: class 1 is bright inside the lungs, class 0 is dark."""

from __future__ import annotations

from typing import ClassVar

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from covidct.preprocessing import Preprocessing
from covidct.sample import Batch, Sample, collate, stable_hash

PREPROCESSING = Preprocessing(kind="ct_volume", classes=("non_covid", "covid"), size=32)


class TinyVolumes(Dataset[Sample]):
    """Volumes of 3 to 5 slices; every second sample is of class 1."""

    def __init__(self, count: int = 4, *, size: int = 32, classes: int = 2) -> None:
        self.count = count
        self.size = size
        self.classes = classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        generator = torch.Generator().manual_seed(index)
        depth, label = 3 + index % 3, index % self.classes
        mask = torch.zeros(1, depth, self.size, self.size, dtype=torch.uint8)
        mask[:, 1:, 6:26, 4:14], mask[:, 1:, 6:26, 18:28] = 1, 2
        image = 0.2 * torch.rand(mask.shape, generator=generator) + 0.6 * label / (self.classes - 1) * (mask > 0)
        return {
            "image": image,
            "lung_mask": mask,
            "label": torch.tensor(label),
            "scan": torch.tensor(stable_hash("tiny", str(index))),
            "subject": torch.tensor(stable_hash("tiny", "subject", str(index))),
            "id": f"tiny-{index}",
        }


class TinyVolumesDataModule(pl.LightningDataModule):
    """The same volumes for every stage; a subclass has other samples and defaults."""

    default_count: ClassVar[int] = 4
    default_preprocessing: ClassVar[Preprocessing] = PREPROCESSING

    def __init__(
        self,
        count: int | None = None,
        *,
        batch_size: int = 2,
        preprocessing: Preprocessing | None = None,
        shuffle: bool = False,
    ) -> None:
        super().__init__()
        self.count = self.default_count if count is None else count
        self.batch_size = batch_size
        self.preprocessing = preprocessing or self.default_preprocessing
        self.class_names = self.preprocessing.classes
        self.shuffle = shuffle

    def samples(self) -> Dataset[Sample]:
        return TinyVolumes(self.count, classes=len(self.class_names))

    def loader(self) -> DataLoader[Sample]:
        return DataLoader(self.samples(), batch_size=self.batch_size, collate_fn=collate)

    def train_dataloader(self) -> DataLoader[Sample]:
        data, trainer = self.samples(), self.trainer
        world, rank = (1, 0) if trainer is None else (trainer.world_size, trainer.global_rank)
        # Lightning leaves this sampler in place; one of its own would shuffle when there are several processes.
        order: DistributedSampler[Sample] = DistributedSampler(
            data, num_replicas=world, rank=rank, shuffle=self.shuffle
        )
        return DataLoader(data, batch_size=self.batch_size, sampler=order, collate_fn=collate)

    def val_dataloader(self) -> DataLoader[Sample]:
        return self.loader()

    def test_dataloader(self) -> DataLoader[Sample]:
        return self.loader()

    def predict_dataloader(self) -> DataLoader[Sample]:
        return self.loader()


def tiny_batch(count: int = 2, *, size: int = 32) -> Batch:
    """One batch of unlike depths."""
    data = TinyVolumes(count, size=size)
    return collate([data[index] for index in range(count)])
