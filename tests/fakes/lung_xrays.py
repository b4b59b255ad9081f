"""A data module of tiny X-rays in memory: the slices of :mod:`tests.fakes.lung_slices` under another name."""

from __future__ import annotations

from dataclasses import replace

from torch.utils.data import Dataset

from covidct.sample import Batch, Sample
from tests.fakes.lung_slices import PREPROCESSING as SLICES
from tests.fakes.lung_slices import TinyLungSlices, TinyLungSlicesDataModule, lung_slices_batch

SIZE = 64  # of one image, batch normalisation sees four values per channel
PREPROCESSING = replace(SLICES, kind="cxr", window=None, size=SIZE)
STATISTICS = (0.5, 0.25)


class TinyLungXRaysDataModule(TinyLungSlicesDataModule):
    """The same X-rays for every stage, with statistics of their own."""

    default_preprocessing = PREPROCESSING

    def samples(self) -> Dataset[Sample]:
        return TinyLungSlices(self.count, size=SIZE)

    def image_statistics(self) -> tuple[float, float]:
        """What a data module of the library computes."""
        return STATISTICS


def lung_xrays_batch(count: int = 2, *, size: int = SIZE) -> Batch:
    """One batch of X-rays."""
    return lung_slices_batch(count, size=size)
