"""``Entries``: where the prepared scans of a data set lie in the cache."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from covidct.datamodules.building import plan_blocks
from covidct.datamodules.contrast_sides import subject_contrasts
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from covidct.datamodules.building import Block
    from covidct.datasets import BaseDataset, Record
    from covidct.io import ArrayCache
    from covidct.preprocessing import Preprocessing

__all__ = ("Entries",)

_log = logging.getLogger(__name__)


class Entries:
    """The prepared scans of a data set.

    Args:
        cache: where they lie.
        dataset: what was prepared.
        preprocessing: what was done to it.
        skip_failures: whether scans may be missing.
    """

    def __init__(
        self, cache: ArrayCache, dataset: BaseDataset, preprocessing: Preprocessing, *, skip_failures: bool
    ) -> None:
        """Nothing is read yet."""
        self._cache, self._dataset, self._preprocessing = cache, dataset, preprocessing
        self._skip_failures = skip_failures
        self._blocks: tuple[Block, ...] | None = None
        self._found: dict[int, tuple[str, int]] | None = None

    def plan(self) -> tuple[Block, ...]:
        """Entries of the cache, decided once: content is hashed here."""
        if self._blocks is None:
            records = self._dataset.records
            sources = 1 + max((record.source for record in records), default=-1)
            keys = [self._dataset.content_key(source, digest=self._cache.digest) for source in range(sources)]
            packed = self._preprocessing.kind != "ct_volume" and not self._dataset.slices
            self._blocks = plan_blocks(
                keys,
                self._preprocessing,
                packed=packed and self._preprocessing.size is not None,
                partial=self._skip_failures,
            )
        return self._blocks

    def names(self) -> dict[int, str]:
        """Source to the id of its first record."""
        return {record.source: record.id for record in reversed(self._dataset.records)}

    def find(self) -> None:
        """Look up every prepared source; each entry is checked here, once.

        Raises:
            UsageError: when some are missing that may not be.
        """
        if self._found is not None:
            return
        found: dict[int, tuple[str, int]] = {}
        for block in self.plan():
            entry = self._cache.get(block.key)
            good: list[int] = [] if entry is None else entry.meta["good"]
            found |= {block.sources[row]: (block.key, place) for place, row in enumerate(good)}
        missing = [name for source, name in sorted(self.names().items()) if source not in found]
        if missing and not self._skip_failures:
            raise UsageError(f"{len(missing)} scans are not in the cache: call prepare_data() before setup().")
        if missing:
            # names alone: the reasons may hold paths
            _log.warning(
                "%d scans could not be prepared and are left out: %s; .failures has the reasons, and so has the error "
                "of on_failure='raise'",
                len(missing),
                ", ".join(missing),
            )
        self._found = found

    @property
    def sources(self) -> Collection[int]:
        """The scans that are there; none before :meth:`find`."""
        return self._found or {}

    def places(self, records: Sequence[Record]) -> list[tuple[str, int]]:
        """Entry and row of each sample, whose source must be there."""
        found = self._found or {}
        slices = self._dataset.slices
        rank_of = {source: {index: row for row, index in enumerate(indices)} for source, indices in slices.items()}
        return [
            (found[r.source][0], found[r.source][1] if r.slice is None else rank_of[r.source][r.slice]) for r in records
        ]

    def contrasts(self) -> dict[int, float]:
        """Hash of each subject to its contrast, empty where none is measured."""
        if self._preprocessing.contrast == "none":
            return {}
        records = [record for record in self._dataset.records if record.source in self.sources]
        rows: dict[str, NDArray[np.float32]] = {}
        found: dict[tuple[int, int | None], float] = {}
        for record, (key, row) in zip(records, self.places(records), strict=True):
            if key not in rows:
                entry = self._cache.get(key)
                rows[key] = np.array(entry.arrays["contrast"] if entry else [])  # a copy: no memory map stays open
            found[record.source, record.slice] = float(rows[key][row])
        return subject_contrasts(self._dataset, records, found)
