"""Share of prepared images that lungs cover, to leave out those in which hardly any lung was found."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import CovidctError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.datasets import Record
    from covidct.datasets.base import Split
    from covidct.io import ArrayCache

__all__ = ("lung_areas", "small_lungs")

_log = logging.getLogger(__name__)


def lung_areas(cache: ArrayCache, places: Sequence[tuple[str, int]]) -> NDArray[np.float64]:
    """Lung pixels as a share of all pixels of prepared images.

    Args:
        cache: where their entries lie.
        places: (entry, row) of each image, of entries with lung masks.

    Returns:
        (N,) in [0, 1].

    Raises:
        CovidctError: when an entry is gone.
    """
    shares: dict[str, list[float]] = {}
    for key in dict.fromkeys(key for key, _ in places):
        entry = cache.get(key)
        if entry is None:
            raise CovidctError("Prepared images are gone from the cache: start again, they will be made anew.")
        shares[key] = [np.count_nonzero(mask) / mask.size for mask in entry.arrays["lung_mask"]]
    return np.array([shares[key][row] for key, row in places])


def small_lungs(
    parts: Mapping[Split, Sequence[Record]], areas: Mapping[str, float], *, least: float
) -> tuple[dict[str, float], list[Record]]:
    """The images whose lungs are too small, and the training part without them; both are logged by id.

    Args:
        parts: the split.
        areas: id of each image to the share of it that lungs cover.
        least: an image with a smaller share is too small, one of exactly this share is not.

    Returns:
        Id to share of the images of all parts that are too small, and the records of the training part that are not.
    """
    found = {
        record.id: areas[record.id] for records in parts.values() for record in records if areas[record.id] < least
    }
    kept = [record for record in parts["train"] if record.id not in found]
    if found:
        _log.warning(
            "lungs cover less than %.0f %% of %d of %d images (%s); %d of them are left out of training",
            100 * least,
            len(found),
            sum(len(records) for records in parts.values()),
            ", ".join(f"{name} {100 * share:.1f} %" for name, share in found.items()),
            len(parts["train"]) - len(kept),
        )
    return found, kept
