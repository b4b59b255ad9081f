"""Prepared scans on disk: which scans share an entry of the cache, and how missing entries are made."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from covidct import __version__
from covidct.errors import CovidctError
from covidct.io import ArrayCache, cache_key
from covidct.transforms import prepare_image, prepare_slices, prepare_volume
from covidct.volume import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from covidct.datamodules.lung_masks import LungMasks
    from covidct.datasets import BaseDataset, Raw
    from covidct.preprocessing import Preprocessing

__all__ = ("Block", "build_blocks", "plan_blocks", "prepare_source")

_log = logging.getLogger(__name__)

_FORMAT = 2  # raise when the form of an entry changes, or what preparing gives
_PACK = 256  # mean number of single images in one entry: few files, few memory maps
_SHARES = 8  # handed to each worker of an executor: the data set travels with each, and the last one is waited for
_WORKERS = 32  # of an executor that nobody has counted


@dataclass(frozen=True, slots=True)
class Block:
    """One entry of the cache: the prepared samples of one scan, or of many single images.

    Attributes:
        key: name of the entry.
        sources: the scans or images, in the order of their rows.
    """

    key: str
    sources: tuple[int, ...]


def plan_blocks(
    keys: Sequence[str], preprocessing: Preprocessing, *, packed: bool, partial: bool = False
) -> tuple[Block, ...]:
    """Decide which scans share an entry.

    Single images are packed in the order of their keys, and a pack ends where a key says so: a new image changes the
    one pack that it falls into, and the order of the table changes none.

    Args:
        keys: content key of each source.
        preprocessing: what is done to them; another one gives other entries.
        packed: whether many sources share one entry.
        partial: whether a pack may lack images that failed; it then is another entry than the whole pack.
    """
    groups: list[list[int]] = []
    if packed:
        open_group: list[int] = []
        for source in sorted(range(len(keys)), key=lambda index: (keys[index], index)):
            open_group.append(source)
            if int(keys[source][:8], 16) % _PACK == 0:
                groups.append(open_group)
                open_group = []
        groups += [open_group] if open_group else []
    else:
        groups = [[source] for source in range(len(keys))]
    config = {"preprocessing": preprocessing.fingerprint(), "partial": packed and partial}
    version = f"{__version__}/{_FORMAT}"
    return tuple(
        Block(cache_key(*(keys[s] for s in group), config=config, version=version), tuple(group)) for group in groups
    )


def prepare_source(
    dataset: BaseDataset,
    source: int,
    preprocessing: Preprocessing,
    *,
    lung_masks: LungMasks | None = None,
    cache: ArrayCache | None = None,
) -> dict[str, NDArray[Any]]:
    """Load and prepare one scan or image; every array gets a leading axis, one row per sample.

    Args:
        dataset: what to read.
        source: number of the scan or image.
        preprocessing: what to do.
        lung_masks: where lung masks come from; None: the data set.
        cache: keeps the network's masks of single images, which other variants of the same images take over.

    Raises:
        CovidctError: when it cannot be read or prepared.
    """
    raw = dataset.load(source)
    lung_mask = raw.lung_mask if lung_masks is None else _lung_mask(dataset, source, raw, lung_masks, cache)
    if isinstance(raw.scan, Image):
        label = None if raw.slice_label is None else int(raw.slice_label[0])
        return prepare_image(
            raw.scan, preprocessing, lung_mask=lung_mask, lesion_mask=raw.lesion_mask, slice_label=label
        )
    if preprocessing.kind == "ct_slice":
        return prepare_slices(
            raw.scan,
            preprocessing,
            indices=dataset.slices[source],
            lung_mask=lung_mask,
            lesion_mask=raw.lesion_mask,
            slice_label=raw.slice_label,
        )
    prepared = prepare_volume(
        raw.scan,
        preprocessing,
        lung_mask=lung_mask,
        lesion_mask=raw.lesion_mask,
        slice_label=raw.slice_label,
    )
    return {key: value[None] for key, value in prepared.items()}


def _lung_mask(
    dataset: BaseDataset, source: int, raw: Raw, lung_masks: LungMasks, cache: ArrayCache | None
) -> NDArray[np.uint8] | None:
    """The mask of a scan; that of an X-ray by a network is made once for all sizes and variants.

    It is kept at its native size, in bits, so that it does not outgrow what is prepared of the X-ray; that of a volume
    would, and is not kept.
    """
    if cache is None or lung_masks.checkpoint is None or lung_masks.kind != "cxr":
        return lung_masks(raw)
    content = dataset.content_key(source, digest=cache.digest)
    key = cache_key(content, config={"lung_bits": lung_masks.source}, version=f"{__version__}/{_FORMAT}")
    bits = cache.get_or_build(key, lambda: ({"bits": np.packbits(np.asarray(lung_masks(raw)), axis=1)}, {}))["bits"]
    return np.unpackbits(bits, axis=1, count=raw.scan.array.shape[1])


def build_blocks(
    cache: ArrayCache,
    dataset: BaseDataset,
    blocks: Sequence[Block],
    preprocessing: Preprocessing,
    *,
    keep_partial: bool,
    lung_masks: LungMasks | None = None,
    num_workers: int = 0,
    executor: Executor | None = None,
    workers: int | None = None,
) -> dict[int, CovidctError]:
    """Make the entries that are missing, damaged, or lack a scan that could not be read before.

    Args:
        cache: where they go.
        dataset: what to read.
        blocks: the entries.
        preprocessing: what to do.
        keep_partial: keep a pack of images although some of them failed.
        lung_masks: where lung masks come from; None: the data set.
        num_workers: worker processes; 0 works in this one.
        executor: does the work instead, in processes or on machines that see the same files and the same cache.
        workers: how many it has; the entries are shared out in a few parts for each, so that what is sent grows with
            their number and not with its square.

    Returns:
        Failed source to its error. Everything that could be prepared is in the cache, failures or not.

    Raises:
        CovidctError: when the cache cannot be written.
    """
    jobs = _Jobs(cache, dataset, blocks, preprocessing, keep_partial, lung_masks)
    failures: dict[int, CovidctError] = {}
    built: Iterable[_Built] = (
        DataLoader(jobs, batch_size=None, num_workers=num_workers)
        if executor is None
        else chain.from_iterable(executor.map(_build_all, jobs.shares(_SHARES * (workers or _WORKERS))))
    )
    for done, failed in enumerate(built, start=1):
        if isinstance(failed, CovidctError):
            raise failed
        failures |= failed
        _log.info("prepared %d of %d entries", done, len(blocks))
    return failures


_Built = dict[int, CovidctError] | CovidctError


def _build_all(jobs: _Jobs) -> list[_Built]:
    """What becomes of each block; nothing more after the cache could not be written."""
    built: list[_Built] = []
    for index in range(len(jobs)):
        built.append(jobs[index])
        if isinstance(built[-1], CovidctError):
            break
    return built


class _Jobs(Dataset[_Built]):
    """One block per item; the loader's workers are the processes that build."""

    def __init__(
        self,
        cache: ArrayCache,
        dataset: BaseDataset,
        blocks: Sequence[Block],
        preprocessing: Preprocessing,
        keep_partial: bool,
        lung_masks: LungMasks | None,
    ) -> None:
        self.cache, self.dataset, self.blocks = cache, dataset, blocks
        self.preprocessing, self.keep_partial, self.lung_masks = preprocessing, keep_partial, lung_masks

    def __len__(self) -> int:
        return len(self.blocks)

    def shares(self, count: int) -> list[_Jobs]:
        """At most so many parts, alike in size."""
        count = min(count, len(self))
        rest = (self.preprocessing, self.keep_partial, self.lung_masks)
        return [_Jobs(self.cache, self.dataset, self.blocks[start::count], *rest) for start in range(count)]

    def __getitem__(self, index: int) -> _Built:
        """Build one block unless it is there; the failures of its sources, or that of the cache.

        Errors are returned: one that a worker raised would come out as its traceback.
        """
        block = self.blocks[index]
        failures: dict[int, CovidctError] = {}

        def build() -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
            parts = []
            for row, source in enumerate(block.sources):
                try:
                    prepared = prepare_source(
                        self.dataset, source, self.preprocessing, lung_masks=self.lung_masks, cache=self.cache
                    )
                    parts.append((row, prepared))
                except CovidctError as error:
                    failures[source] = error
            if failures and not (self.keep_partial and parts):
                raise _Incomplete
            arrays = {key: np.concatenate([part[key] for _, part in parts]) for key in parts[0][1]}
            return arrays, {"good": [row for row, _ in parts]}

        try:
            self.cache.get_or_build(block.key, build)
        except _Incomplete:
            _log.debug("an entry could not be completed")
        except CovidctError as error:
            return error
        return failures


class _Incomplete(Exception):  # noqa: N818 - a signal, caught a few lines below
    """A block has failures and is not kept."""
