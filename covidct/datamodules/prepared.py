"""Prepared samples as a data set: memory maps go straight into the batch, augmentation sample by sample."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from covidct.datamodules.sampling import Draw
from covidct.errors import CovidctError, InputError
from covidct.functional import lesion_instances
from covidct.sample import Sample, collate
from covidct.transforms.draw import draw_slices
from covidct.transforms.masked import mask_again
from covidct.transforms.prepare import to_sample, to_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.datasets import BaseDataset, Record
    from covidct.io import ArrayCache
    from covidct.preprocessing import Masking
    from covidct.sample import Batch
    from covidct.transforms import Augment

__all__ = ("PreparedSamples",)

_OPEN = 128  # entries that a process keeps open: each memory map holds a file descriptor


class PreparedSamples(Dataset[Any]):
    """Samples whose pixels lie prepared in a cache; gives whole batches.

    Args:
        cache: where the entries are.
        dataset: whose samples they are, for subject and scan hashes; with its ``mask_type`` they carry ``instances``,
            the objects of the lesion mask as it is after resizing and augmentation.
        records: the samples.
        places: (entry, row) of each sample.
        augment: applied to every sample; None: the samples as they are.
        masking: of the prepared samples, kept up by :func:`covidct.transforms.mask_again` when they are augmented.
        max_slices: of volumes, draw this many slices of each sample (:func:`covidct.transforms.draw_slices`); None:
            all of them.
        contrasts: of the subject of each sample; they stand in for the samples' own, so that all scans of a subject go
            the same way at a gate. None: nothing stands in.
        seed: with a draw, decides its slices and its augmentation.
    """

    def __init__(
        self,
        cache: ArrayCache,
        *,
        dataset: BaseDataset,
        records: Sequence[Record],
        places: Sequence[tuple[str, int]],
        augment: Augment | None = None,
        masking: Masking = "original",
        max_slices: int | None = None,
        contrasts: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        """Keep identities as plain arrays, so that workers get no more than they need."""
        self.cache = cache
        self.places = tuple(places)
        self.ids = tuple(record.id for record in records)
        self.identities: dict[str, NDArray[Any]] = {
            "label": np.array([record.label for record in records], dtype=np.int64),
            "subject": np.array([dataset.subject_hash(record) for record in records], dtype=np.int64),
            "scan": np.array([dataset.scan_hash(record) for record in records], dtype=np.int64),
        }
        if contrasts is not None:
            self.identities["contrast"] = np.array(contrasts, dtype=np.float32)
        self.mask_type = dataset.mask_type
        self.augment = augment
        self.masking = masking
        self.max_slices = max_slices
        self.seed = seed
        self._open: OrderedDict[str, Mapping[str, NDArray[Any]]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave open memory maps behind."""
        return self.__dict__ | {"_open": OrderedDict()}

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.ids)

    def slice_labels(self) -> list[NDArray[np.int64]] | None:
        """Class of each slice of every sample, -1 unknown, without its pixels; None where the data set knows none."""
        found = []
        for arrays, row in map(self._arrays, range(len(self))):
            if "slice_label" not in arrays:
                return None
            found.append(np.array(arrays["slice_label"][row], dtype=np.int64))
        return found

    def __getitem__(self, draw: int | Draw) -> Sample:
        """One sample of the contract, augmented where so configured."""
        index = _index(draw)
        epoch, repeat = (draw.epoch, draw.repeat) if isinstance(draw, Draw) else (0, 0)
        seed = (self.seed, epoch, index, repeat)
        arrays, row = self._arrays(index)
        prepared = {key: value[row] for key, value in arrays.items()}
        if self.max_slices is not None:
            prepared = draw_slices(prepared, self.max_slices, seed=seed)
        sample = to_sample(
            prepared,
            id=self.ids[index],
            **{key: torch.tensor(values[index]) for key, values in self.identities.items()},
        )
        if self.augment is not None:
            sample = mask_again(self.augment(sample, seed=seed), self.masking)
        if self.mask_type is not None:
            sample["instances"] = self._objects(sample.get("lesion_mask"), index)
        return sample

    def __getitems__(self, draws: Sequence[int | Draw]) -> Batch:
        """A collated batch: each pixel is read from the memory map and written to the batch once."""
        if self.augment is None and self.max_slices is None:
            indices = [_index(draw) for draw in draws]
            rows = [self._arrays(index) for index in indices]
            entries = {id(arrays): arrays for arrays, _ in rows}.values()
            if len({arrays["image"].shape[1:] for arrays in entries}) == 1:
                return self._gather(indices, rows)
        return collate([cast("dict[str, Any]", self[draw]) for draw in draws])

    def _gather(self, indices: list[int], rows: list[tuple[Mapping[str, NDArray[Any]], int]]) -> Batch:
        """Samples of one shape, each array written into its place in the batch."""
        batch: Batch = {}
        for key, value in rows[0][0].items():
            dtype = np.float32 if key == "image" else value.dtype
            out = np.empty((len(rows), *value.shape[1:]), dtype=dtype)
            if key == "image":
                for target, (arrays, row) in zip(out, rows, strict=True):
                    to_unit(arrays[key][row], out=target)
            else:
                for place, (arrays, row) in enumerate(rows):
                    out[place] = arrays[key][row]
            batch[key] = torch.from_numpy(out)
        for key, values in self.identities.items():
            batch[key] = torch.from_numpy(values[indices])
        batch["id"] = [self.ids[index] for index in indices]
        if self.mask_type is not None:
            masks = batch.get("lesion_mask", [None] * len(indices))
            batch["instances"] = [self._objects(mask, index) for mask, index in zip(masks, indices, strict=True)]
        return batch

    def _objects(self, lesion_mask: Tensor | None, index: int) -> dict[str, Tensor]:
        """Boxes, labels and masks of a (1, H, W) lesion mask."""
        if lesion_mask is None or self.mask_type is None:
            raise InputError(
                f"The sample {self.ids[index]} has no lesion mask to take objects from: set mask_type=None."
            )
        return lesion_instances(lesion_mask[0], mask_type=self.mask_type)

    def _arrays(self, index: int) -> tuple[Mapping[str, NDArray[Any]], int]:
        """The open entry of a sample, and its row."""
        key, row = self.places[index]
        arrays = self._open.get(key)
        if arrays is None:
            entry = self.cache.get(key)
            if entry is None:
                raise CovidctError(
                    f"The prepared scan of {self.ids[index]} is gone from the cache, or damaged: start again, it will "
                    "be made anew."
                )
            arrays = self._open[key] = entry.arrays
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return arrays, row


def _index(draw: int | Draw) -> int:
    return draw if isinstance(draw, int) else draw.index
