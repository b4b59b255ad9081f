"""``PhantomLungs``: simulated scans of random kind with their lungs, to train lung segmentation without real data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covidct import __version__
from covidct.datasets.base import BaseDataset, Raw, Record
from covidct.errors import UsageError
from covidct.io import cache_key
from covidct.labels import class_map
from covidct.phantom import simulate_varied_ct
from covidct.sample import stable_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ("PhantomLungs",)


class PhantomLungs(BaseDataset):
    """CT volumes in HU with lung masks, of wide variety (:func:`covidct.phantom.simulate_varied_ct`).

    Deterministic by index, made on demand, no file needed. The scans have no diagnosis (label -1). Test objects, not
    patients.
    """

    name = "phantom_lungs"
    kind = "ct_volume"
    intensity = "hu"

    def __init__(self, num_scans: int = 240, *, detail: float = 1.0, seed: int = 0) -> None:
        """Describe the cohort; nothing is simulated yet.

        Args:
            num_scans: number of scans, each of another body.
            detail: factor on the number of voxels along each axis; below 1 for quick tests.
            seed: another seed is another cohort.

        Raises:
            UsageError: when a number is out of range.
        """
        if num_scans < 1:
            raise UsageError(f"num_scans={num_scans} must be at least 1.")
        if not 0 < detail <= 4:
            raise UsageError(f"detail={detail} is not usable: give a factor above 0 and up to 4.")
        super().__init__()
        self.num_scans = num_scans
        self.detail = float(detail)
        self.seed = seed
        self.classes = class_map("three")

    def make_records(self) -> tuple[Record, ...]:
        """One record per scan, each a subject of its own."""
        return tuple(
            Record(id=f"phantom-lungs-{source:04d}", subject=f"phantom-lungs-{source:04d}", label=-1, source=source)
            for source in range(self.num_scans)
        )

    def load(self, source: int) -> Raw:
        """Simulate scan ``source``."""
        made = simulate_varied_ct(self._draw(source), detail=self.detail)
        return Raw(made.volume, lung_mask=made.lung_mask)

    def content_key(self, source: int, *, digest: Callable[[Path], str]) -> str:
        """Digest of the arguments and of the release that draws the phantom; no file is involved."""
        config = {"name": self.name, "draw": self._draw(source), "detail": self.detail}
        return cache_key(config=config, version=__version__)

    def _draw(self, source: int) -> int:
        """Seed of scan ``source``, alike in cohorts of another size."""
        return stable_hash(self.name, str(self.seed), str(source)) % 2**32
