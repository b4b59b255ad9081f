"""Labelled data made ready for distances: features taken, rare classes left out, subsets drawn by class and subject."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from covidct.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Features = Callable[[Any], Any]

__all__ = ("LabelledPoints", "LabelledSet", "least_of", "prepare", "stratified")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSet:
    """A labelled data set.

    Attributes:
        x: (N, d) features or (N, ...) images, an array or a tensor on any device.
        y: N labels, integers or words.
        subjects: whose samples they are, (N,) keys; None where each sample is a subject of its own.
    """

    x: Any
    y: Any
    subjects: Sequence[Any] | NDArray[Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPoints:
    """Features of a labelled data set.

    Attributes:
        points: (n, d) floating point.
        labels: (n,) int64, index of each sample's class.
        classes: labels in their sorted order.
        rows: (n,) int64, which of the samples given these are.
        subjects: (n,) int64, number of each sample's subject.
        dropped: classes that were left out for being rare.
    """

    points: Tensor
    labels: NDArray[np.int64]
    classes: tuple[Any, ...]
    rows: NDArray[np.int64]
    subjects: NDArray[np.int64]
    dropped: tuple[Any, ...] = ()

    def groups(self) -> list[Tensor]:
        """Samples of each class."""
        device = self.points.device
        return [
            self.points[torch.from_numpy(np.flatnonzero(self.labels == k)).to(device)] for k in range(len(self.classes))
        ]

    def take(self, chosen: NDArray[np.int64]) -> LabelledPoints:
        """Some of the samples; classes that none of them has are left out."""
        present, labels = np.unique(self.labels[chosen], return_inverse=True)
        return LabelledPoints(
            self.points[torch.from_numpy(chosen).to(self.points.device)],
            labels.astype(np.int64),
            tuple(self.classes[k] for k in present),
            self.rows[chosen],
            self.subjects[chosen],
            self.dropped,
        )

    def without(self, lost: NDArray[np.bool_]) -> LabelledPoints:
        """Without some of the classes, named among those that were left out."""
        if not lost.any():
            return self
        kept = self.take(np.flatnonzero(~lost[self.labels]))
        return replace(kept, dropped=(*self.dropped, *(self.classes[k] for k in np.flatnonzero(lost))))

    def counts(self) -> NDArray[np.int64]:
        """Samples of each class."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def subject_counts(self) -> dict[Any, int]:
        """Class to the number of subjects that have samples of it."""
        return {label: len(np.unique(self.subjects[self.labels == k])) for k, label in enumerate(self.classes)}

    def strata(self) -> list[NDArray[np.int64]]:
        """Subjects by class, each once: that of its first sample."""
        subjects, first = np.unique(self.subjects, return_index=True)
        groups = [subjects[self.labels[first] == k] for k in range(len(self.classes))]
        return [group for group in groups if len(group)]

    def half(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Samples of half of the subjects of each class, the larger half where they are odd, and the other samples."""
        chosen = [rng.permutation(group)[: (len(group) + 1) // 2] for group in self.strata()]
        inside = np.isin(self.subjects, np.concatenate(chosen))
        return np.flatnonzero(inside), np.flatnonzero(~inside)


def prepare(
    data: LabelledSet, *, name: str, features: Features | None, max_samples: int | None, min_class_size: int, seed: int
) -> LabelledPoints:
    """Check a data set, leave out rare classes, draw samples and take their features.

    Args:
        data: the data set.
        name: of it, for messages.
        features: takes images (n, ...) of the data set's kind, gives (n, d); None takes x as it is, images flattened.
        max_samples: at most as many, each class in proportion, but ``min_class_size`` of each where there is room.
            None: all.
        min_class_size: classes with fewer samples are left out, of all and of those that are drawn.
        seed: of the drawing.

    Raises:
        UsageError: for x or features that are no (N, d), labels or subjects of another number.
        InputError: without samples, without a class that is large enough, or for values that are not finite.
    """
    x = data.x if isinstance(data.x, (np.ndarray, torch.Tensor)) else np.asarray(data.x)
    labels = _keys(data.y, len(x) if x.ndim else 0, f"{name}: y", "label")
    if x.ndim < 2:
        raise UsageError(f"{name}: x has the shape {tuple(x.shape)}; give (N, d) features or (N, ...) images.")
    if not len(x):
        raise InputError(f"{name} has no samples: there is nothing to compare.")
    subjects = np.arange(len(x)) if data.subjects is None else _codes(data.subjects, len(x), name)
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    large = counts >= min_class_size
    if not large.any():
        raise InputError(f"{name}: no class has {min_class_size} samples or more; give more samples of each class.")
    if not large.all():
        rare = ", ".join(map(str, classes[~large].tolist()))
        logger.warning("%s: left out for fewer than %d samples: %s.", name, min_class_size, rare)
    rows = np.flatnonzero(large[codes])
    if max_samples is not None and len(rows) > max_samples:
        least = least_of(min_class_size)
        drawn = rows[stratified(codes[rows], max_samples, np.random.default_rng(seed), least=least)]
        lost = np.bincount(codes[drawn], minlength=len(classes)) < min_class_size
        if (lost & large).any():
            rare = ", ".join(map(str, classes[lost & large].tolist()))
            logger.warning("%s: left out, since of %d samples they have too few: %s.", name, max_samples, rare)
        large &= ~lost
        rows = drawn[large[codes[drawn]]]
        if not len(rows):
            raise InputError(
                f"{name}: {max_samples} samples of {len(classes)} classes leave none with {min_class_size}: draw more."
            )
    kept, codes = np.unique(codes[rows], return_inverse=True)
    return LabelledPoints(
        _points(x, rows, features, name),
        codes.astype(np.int64),
        tuple(classes[kept].tolist()),
        rows,
        subjects[rows].astype(np.int64),
        tuple(classes[~large].tolist()),
    )


def least_of(min_class_size: int) -> int:
    """Samples that a class keeps when some are drawn: one alone has no covariance."""
    return max(min_class_size, 2)


def stratified(labels: NDArray[Any], count: int, rng: np.random.Generator, *, least: int = 2) -> NDArray[np.int64]:
    """Draw ``count`` indices without replacement, each class in proportion (largest remainders), sorted.

    Where there is room for it a class gets ``least`` at least, or all that it has, and the others share the rest. Where
    there is not, classes below their share may get none.
    """
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    floors = np.minimum(sizes, least) if np.minimum(sizes, least).sum() <= count else np.zeros_like(sizes)
    fixed = np.zeros(len(sizes), bool)
    while True:
        rest = count - floors[fixed].sum()
        shares = np.where(fixed, floors, sizes * rest / max(sizes[~fixed].sum(), 1))
        below = ~fixed & (shares < floors)
        if not below.any():
            break
        fixed |= below
    drawn = np.floor(shares).astype(int)
    drawn[np.argsort(drawn - shares, kind="stable")[: count - drawn.sum()]] += 1
    chosen = [rng.permutation(np.flatnonzero(codes == k))[:size] for k, size in enumerate(drawn)]
    return np.sort(np.concatenate(chosen))


def _points(x: Any, rows: NDArray[np.int64], features: Features | None, name: str) -> Tensor:  # noqa: ANN401
    """Features of chosen samples as a floating-point tensor (n, d)."""
    kept = x if len(rows) == len(x) else x[torch.from_numpy(rows).to(x.device) if isinstance(x, torch.Tensor) else rows]
    taken = kept if features is None else features(kept)
    points = taken.detach() if isinstance(taken, torch.Tensor) else torch.from_numpy(_own(np.asarray(taken)))
    if features is None:
        points = points.reshape(len(rows), -1)
    if points.ndim != 2 or len(points) != len(rows):
        raise UsageError(
            f"{name}: features gave the shape {tuple(points.shape)} for {len(rows)} images; give one row of numbers "
            "per image."
        )
    if points.dtype not in (torch.float32, torch.float64):
        points = points.float()
    if not bool(torch.isfinite(points).all()):
        raise InputError(f"{name}: x holds values that are not finite; leave those samples out.")
    return points


def _own(values: NDArray[Any]) -> NDArray[Any]:
    """Values in an order and memory that torch takes; a copy only where they are not."""
    return np.require(values, requirements=("C", "W"))


def _keys(values: Any, count: int, what: str, one: str) -> NDArray[Any]:  # noqa: ANN401
    """One key per sample as an array."""
    keys = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if keys.ndim != 1 or len(keys) != count:
        raise UsageError(f"{what} has the shape {keys.shape} for {count} samples: give one {one} per sample.")
    if keys.dtype.kind == "O" or (keys.dtype.kind == "f" and np.isnan(keys).any()):
        raise UsageError(f"{what} holds something that is neither a whole number nor a word: give one or the other.")
    return keys


def _codes(subjects: Any, count: int, name: str) -> NDArray[np.int64]:  # noqa: ANN401
    """Number of each sample's subject."""
    keys = _keys(subjects, count, f"{name}: subjects", "subject")
    return np.asarray(np.unique(keys, return_inverse=True)[1], np.int64)
