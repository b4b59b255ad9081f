"""Bootstrap over subjects: how often each is drawn, as weights of the cases (numpy only)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from covidct.metrics.scores import Floats, Ints

__all__ = ("draw_subjects", "weight_blocks")

_BLOCK = 4_000_000  # cases x resamples weighed at once: 32 MB per float64 array


def draw_subjects(subjects: int, resamples: int, seed: int) -> NDArray[np.int32]:
    """How often each subject is drawn in each resample, (resamples, subjects)."""
    draws = np.random.default_rng(seed).integers(subjects, size=(resamples, subjects))
    draws += np.arange(resamples)[:, None] * subjects
    return np.bincount(draws.ravel(), minlength=resamples * subjects).astype(np.int32).reshape(resamples, subjects)


def weight_blocks(counts: NDArray[np.int32], subject: Ints) -> Iterator[Floats]:
    """Weights of the cases, a block (b, N) of resamples at a time, so that memory stays small.

    Args:
        counts: from :func:`draw_subjects`.
        subject: (N,) number of each case's subject, from 0.
    """
    step = max(1, _BLOCK // len(subject))
    for start in range(0, len(counts), step):
        yield counts[start : start + step, subject].astype(np.float64)
