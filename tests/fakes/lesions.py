"""A data module of tiny slices in memory with lesions as objects: class 1 has one bright blot, class 2 two, 0 none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

from covidct.functional import lesion_instances
from covidct.preprocessing import Preprocessing
from covidct.sample import Batch, Sample, collate, stable_hash
from tests.fakes.volumes import TinyVolumesDataModule

if TYPE_CHECKING:
    from covidct.labels import MaskType

PREPROCESSING = Preprocessing(
    kind="ct_slice", classes=("normal", "cap", "covid"), size=64, window=None, mask_source="none"
)


class TinyLesions(Dataset[Sample]):
    """Slices that come in pairs of equal pixels.

    torchvision's losses are means over the regions of a batch, which are means over the processes only where all
    slices of a step have equally many.
    """

    def __init__(self, count: int = 6, *, size: int = 64) -> None:
        self.count = count
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        kind = index // 2 % 3
        generator = torch.Generator().manual_seed(index // 2)
        mask = torch.zeros(1, self.size, self.size, dtype=torch.uint8)
        third = max(self.size // 3, 2)
        for blot in range(kind):
            row = 1 + int(torch.randint(0, max(self.size - third - 1, 1), (), generator=generator))
            mask[:, row : row + third, 1 + blot * (third + 1) : 1 + blot * (third + 1) + third] = blot + 1
        image = 0.2 + 0.05 * torch.rand(mask.shape, generator=generator) + 0.3 * mask
        return {
            "image": image,
            "lesion_mask": mask,
            "instances": lesion_instances(mask[0]),
            "label": torch.tensor(kind),
            "scan": torch.tensor(stable_hash("lesions", str(index // 2))),
            "subject": torch.tensor(stable_hash("lesions", "subject", str(index // 2))),
            "id": f"lesions-{index}",
        }


class TinyLesionsDataModule(TinyVolumesDataModule):
    """The same slices for every stage."""

    mask_type: MaskType = "both"

    default_count = 6
    default_preprocessing = PREPROCESSING

    def samples(self) -> Dataset[Sample]:
        return TinyLesions(self.count)


def lesions_batch(count: int = 2, *, size: int = 64) -> Batch:
    """One batch of slices: with one lesion, with two, with none, in turn."""
    data = TinyLesions(size=size)
    return collate([data[2 + 2 * index % 6] for index in range(count)])
