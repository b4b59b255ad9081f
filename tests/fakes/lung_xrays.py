"""A data module of tiny X-rays in memory: the slices of :mod:`tests.fakes.lung_slices` under another name."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes.lung_slices import PREPROCESSING as SLICES
from tests.fakes.lung_slices import TinyLungSlicesDataModule, lung_slices_batch

PREPROCESSING = replace(SLICES, kind="cxr", window=None)
STATISTICS = (0.5, 0.25)

lung_xrays_batch = lung_slices_batch


class TinyLungXRaysDataModule(TinyLungSlicesDataModule):
    """The same X-rays for every stage, with statistics of their own."""

    default_preprocessing = PREPROCESSING

    def image_statistics(self) -> tuple[float, float]:
        """What a data module of the library computes."""
        return STATISTICS
