"""From the probabilities of slices to those of their scan: the one rule for classifiers that see single slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.errors import UsageError
from covidct.labels import NEGATIVE_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ("SLICE_RULE", "most_suspicious", "scan_probabilities")

_SHARE, _LEAST = 10, 3  # one slice in ten, at least three: a lesion spans several slices, one alone may be an artefact

SLICE_RULE = (
    "mean of the class probabilities over the most suspicious tenth of the slices (rounded up, at least 3, all where "
    "there are fewer); suspicious: improbable to be of the negative class"
)
"""The rule of :func:`scan_probabilities` in words, for records; our choice, the publication has slices alone."""


def most_suspicious(prob: NDArray[np.floating], class_names: Sequence[str]) -> NDArray[np.int64]:
    """Indices of the slices that decide about a scan, the most suspicious first.

    Args:
        prob: (D, C) class probabilities of each slice, NaN where a slice was not looked at.
        class_names: C names; the first of :data:`covidct.labels.NEGATIVE_CLASSES` among them is the negative class, the
            first of all where there is none.

    Returns:
        (n,): a tenth of the slices that were looked at, rounded up, at least 3, all where there are fewer; of equally
        suspicious ones those nearer the feet first.

    Raises:
        UsageError: when no slice was looked at, or the shape does not fit.
    """
    if prob.ndim != 2 or prob.shape[1] != len(class_names):
        count = len(class_names)
        raise UsageError(f"The probabilities of {count} classes must be (slices, {count}), not {prob.shape}.")
    negative = next((index for index, name in enumerate(class_names) if name in NEGATIVE_CLASSES), 0)
    seen = np.flatnonzero(np.isfinite(prob).all(1))
    if not len(seen):
        raise UsageError("No slice has probabilities, so there are none of the scan: classify at least one.")
    count = min(len(seen), max(_LEAST, -(-len(seen) // _SHARE)))
    return seen[np.argsort(prob[seen, negative], kind="stable")[:count]]


def scan_probabilities(prob: NDArray[np.floating], class_names: Sequence[str]) -> NDArray[np.float64]:
    """Class probabilities of a scan from those of its slices, by :data:`SLICE_RULE`.

    Args:
        prob: as in :func:`most_suspicious`.
        class_names: as in :func:`most_suspicious`.

    Returns:
        (C,) float64; sums to one where the rows do.
    """
    chosen = most_suspicious(prob, class_names)
    return np.asarray(prob[chosen].astype(np.float64).mean(0))
