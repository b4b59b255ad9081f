"""Cost of an epoch from the prepared cache, against a memory-mapped gather of the same bytes to float32.

Run ``python tests/benchmarks/bench_loading.py``; slices (2,000 of 224 x 224) and volumes (40 of 128^3), interleaved
rounds in one process, medians. Both sides read the same uint16 pixels and uint8 masks in the same shuffled order and
give float32 images; ours also gives labels and identities, through a DataLoader.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.datamodules.prepared import PreparedSamples
from covidct.datamodules.sampling import EpochSampler, ResumableLoader
from covidct.datasets import BaseDataset, Raw, Record
from covidct.io import ArrayCache, cache_key
from covidct.labels import class_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
ROUNDS = 11


class Nothing(BaseDataset):
    """Only identities; the pixels are in the cache."""

    name, kind, intensity = "bench", "ct_slice", "unit"

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.classes = class_map("three")

    def make_records(self) -> tuple[Record, ...]:
        return tuple(Record(f"r{i}", f"p{i}", i % 3, i) for i in range(self.count))

    def load(self, source: int) -> Raw:
        raise NotImplementedError

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        raise NotImplementedError


def fill(
    folder: Path, count: int, per_entry: int, shape: tuple[int, ...], *, mask: bool
) -> tuple[PreparedSamples, dict[str, NDArray[Any]]]:
    """The same random pixels in our cache and in flat ``.npy`` files, memory-mapped."""
    rng = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {"image": rng.integers(0, 65536, (count, *shape), dtype=np.uint16)}
    if mask:
        arrays["lung_mask"] = rng.integers(0, 3, (count, *shape), dtype=np.uint8)
    cache = ArrayCache(folder / "cache")
    places = []
    for start in range(0, count, per_entry):
        key = cache_key(str(start), config={"shape": shape}, version=1)
        part = {name: array[start : start + per_entry] for name, array in arrays.items()}
        cache.get_or_build(key, lambda part=part: (part, {}))  # type: ignore[misc]
        places += [(key, row) for row in range(per_entry)]
    flat = {}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        flat[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    dataset = Nothing(count)
    return PreparedSamples(cache, dataset=dataset, records=dataset.records, places=places), flat


def gather(flat: dict[str, NDArray[Any]], order: NDArray[np.int64], batch: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The bound: fancy indexing of the map, image to float32, given batch by batch."""
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        yield {name: array[rows].astype(np.float32) if name == "image" else array[rows] for name, array in flat.items()}


def measure(title: str, count: int, per_entry: int, shape: tuple[int, ...], batch: int, *, mask: bool) -> None:
    """Print medians and ratio of one setting."""
    with tempfile.TemporaryDirectory() as folder:
        samples, flat = fill(Path(folder), count, per_entry, shape, mask=mask)
        sampler = EpochSampler(samples.identities["label"].tolist())
        loader = ResumableLoader(samples, batch_size=batch, sampler=sampler, collate_fn=_same)
        ours, bound = [], []
        for epoch in range(ROUNDS + 2):
            sampler.set_epoch(epoch)
            order = np.array([draw.index for draw in sampler.draws()])
            start = time.perf_counter()
            for _ in loader:
                pass
            middle = time.perf_counter()
            for _ in gather(flat, order, batch):
                pass
            end = time.perf_counter()
            if epoch >= 2:  # the first rounds warm the page cache
                ours.append(middle - start)
                bound.append(end - middle)
        ratio = statistics.median(o / b for o, b in zip(ours, bound, strict=True))
        _log.info(
            "%-28s cached epoch %7.1f ms   mmap gather %7.1f ms   ratio %.2f",
            title,
            1e3 * statistics.median(ours),
            1e3 * statistics.median(bound),
            ratio,
        )


def _same(batch: Any) -> Any:  # noqa: ANN401
    return batch


def main() -> None:
    """Run all settings."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    measure("2000 slices 224^2, batch 32", 2000, 250, (1, 224, 224), 32, mask=False)
    measure("same, with lung masks", 2000, 250, (1, 224, 224), 32, mask=True)
    measure("40 volumes 128^3, batch 1", 40, 1, (1, 128, 128, 128), 1, mask=True)
    measure("40 volumes 128^3, batch 4", 40, 1, (1, 128, 128, 128), 4, mask=True)


if __name__ == "__main__":
    main()
