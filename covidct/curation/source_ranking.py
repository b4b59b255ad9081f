"""``rank_sources``: which data set is nearest to a target, with intervals from halves of the subjects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.curation.label_distance import LabelDistance, LabelDistances
from covidct.curation.labelled import LabelledSet, prepare, stratified
from covidct.curation.otdd import DatasetDistance, Outer, check_options, measure
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from covidct.curation.labelled import Features, LabelledPoints

__all__ = ("RankedSource", "SetComparison", "SourceRanking", "compare_sets", "rank_sources")


@dataclass(frozen=True, slots=True, eq=False)
class SetComparison:
    """Distance of two data sets with its interval, and how firmly their classes meet.

    Attributes:
        result: distance, label distances and coupling.
        low: lower end of the interval of the distance, at least 0.
        high: upper end.
        halves: (resamples,) distances between halves of the two sets.
        same_class_nearest: class of the first set to whether, of all classes of the second, the one of the same label
            is the nearest; for classes that both sets have.
        same_class_share: the same as a share of the halves.
    """

    result: DatasetDistance
    low: float
    high: float
    halves: NDArray[np.float64]
    same_class_nearest: Mapping[Any, bool]
    same_class_share: Mapping[Any, float]


@dataclass(frozen=True, slots=True, eq=False)
class RankedSource:
    """A candidate in a ranking.

    Attributes:
        name: of the candidate.
        comparison: of the target with it.
        nearest: share of the halves in which it is the nearest of all candidates.
    """

    name: str
    comparison: SetComparison
    nearest: float


@dataclass(frozen=True, slots=True, eq=False)
class SourceRanking:
    """Candidates by their distance to a target.

    Attributes:
        sources: nearest first.
        floor: mean distance of two halves of the target that share no subject: what sampling alone makes of a distance
            of 0, at half of the samples. NaN when the target cannot be halved.
        samples: of the target and of every candidate.
        confidence: of the intervals.
        resamples: number of halves.
    """

    sources: tuple[RankedSource, ...]
    floor: float
    samples: int
    confidence: float
    resamples: int


def rank_sources(
    target: LabelledSet,
    candidates: Mapping[str, LabelledSet],
    *,
    features: Features | None = None,
    label_distance: LabelDistance = "gaussian",
    debiased: bool = True,
    outer: Outer = "auto",
    epsilon: float = 0.01,
    max_samples: int | None = 2_000,
    min_class_size: int = 2,
    resamples: int = 50,
    confidence: float = 0.95,
    seed: int = 0,
) -> SourceRanking:
    """Rank data sets by their distance to a target: the nearest is the first to be tried for pre-training.

    The distance of two samples of one and the same distribution is positive and grows the fewer the samples, so that a
    small candidate would look far: target and candidates are brought to the same number, the smallest set's (each
    class in proportion). Intervals are those of :func:`compare_sets`; all candidates meet the same halves of the
    target.

    Args:
        target: the data set that a network is wanted for.
        candidates: name to data set.
        features: see :func:`covidct.curation.otdd`, as the further ones; taken once of each set.
        label_distance: distance of two classes.
        debiased: subtract half of the distance of each set to itself.
        outer: solver.
        epsilon: relative weight of the entropy.
        max_samples: of each set; 2,000, what the exact solver takes. None: all of the smallest set.
        min_class_size: classes with fewer samples are left out.
        resamples: number of halves.
        confidence: of the intervals.
        seed: of everything that is drawn.

    Returns:
        The candidates, nearest first.

    Raises:
        UsageError: without candidates, for options out of range, or as :func:`covidct.curation.otdd`.
        InputError: as :func:`covidct.curation.otdd`.
    """
    if not candidates:
        raise UsageError("There is no candidate: name at least one data set to rank.")
    plan = _Plan(
        features, label_distance, debiased, outer, epsilon, max_samples, min_class_size, resamples, confidence, seed
    )
    whole = {name: plan.prepare(data, name) for name, data in candidates.items()}
    first = plan.prepare(target, "The target")
    samples = min(len(points.rows) for points in (first, *whole.values()))
    first = plan.cut(first, samples)
    compared = {name: plan.compare(first, plan.cut(points, samples)) for name, points in whole.items()}
    nearest = np.argmin([one.halves for one in compared.values()], axis=0)
    sources = [
        RankedSource(name, one, float((nearest == number).mean()))
        for number, (name, one) in enumerate(compared.items())
    ]
    sources.sort(key=lambda source: source.comparison.result.distance)
    return SourceRanking(tuple(sources), plan.floor(first), samples, confidence, resamples)


def compare_sets(
    first: LabelledSet,
    second: LabelledSet,
    *,
    features: Features | None = None,
    label_distance: LabelDistance = "gaussian",
    debiased: bool = True,
    outer: Outer = "auto",
    epsilon: float = 0.01,
    max_samples: int | None = 2_000,
    min_class_size: int = 2,
    resamples: int = 50,
    confidence: float = 0.95,
    seed: int = 0,
) -> SetComparison:
    """Distance of two data sets with an interval.

    The interval is normal, its width from the spread of the distance over halves of the subjects of each class, drawn
    without replacement: a half varies about the whole by as much as the whole varies about its expectation (the
    delete-half jackknife: J. Shao and C. F. J. Wu, "A general theory for jackknife variance estimation", Ann Statist
    1989;17:1176), and transport costs are asymptotically normal about theirs (E. del Barrio and J.-M. Loubes, "Central
    limit theorems for empirical transportation cost in general dimension", Ann Probab 2019;47:926). The bootstrap is no
    use here: repeated samples move the distance itself. The expectation is that of samples of this size: the interval
    does not cover the bias of small samples.

    Sets with the same labels and subjects (images before and after a treatment) are halved alike.

    Args:
        first: a labelled data set.
        second: another.
        features: see :func:`covidct.curation.otdd`, as the further ones.
        label_distance: distance of two classes.
        debiased: subtract half of the distance of each set to itself.
        outer: solver.
        epsilon: relative weight of the entropy.
        max_samples: of each set; None: all.
        min_class_size: classes with fewer samples are left out.
        resamples: number of halves, at least 2.
        confidence: of the interval.
        seed: of everything that is drawn.

    Returns:
        The distance with its interval.

    Raises:
        UsageError: for options out of range, or as :func:`covidct.curation.otdd`.
        InputError: as :func:`covidct.curation.otdd`.
    """
    plan = _Plan(
        features, label_distance, debiased, outer, epsilon, max_samples, min_class_size, resamples, confidence, seed
    )
    return plan.compare(plan.prepare(first, "The first set"), plan.prepare(second, "The second set"))


@dataclass(frozen=True, slots=True)
class _Plan:
    """How data sets are prepared, measured and halved."""

    features: Features | None
    label_distance: LabelDistance
    debiased: bool
    outer: Outer
    epsilon: float
    max_samples: int | None
    min_class_size: int
    resamples: int
    confidence: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse options out of range."""
        check_options(self.label_distance, self.outer, self.epsilon, self.max_samples, self.min_class_size)
        if self.resamples < 2 or not 0 < self.confidence < 1:
            raise UsageError(
                f"resamples={self.resamples} must be at least 2 and confidence={self.confidence} between 0 and 1."
            )

    def prepare(self, data: LabelledSet, name: str) -> LabelledPoints:
        """Check a set and take its features."""
        return prepare(
            data,
            name=name,
            features=self.features,
            max_samples=self.max_samples,
            min_class_size=self.min_class_size,
            seed=self.seed,
        )

    def measure(self, first: LabelledPoints, second: LabelledPoints) -> DatasetDistance:
        """The distance of two sets."""
        known = LabelDistances(self.label_distance)
        return measure(first, second, known=known, debiased=self.debiased, outer=self.outer, epsilon=self.epsilon)

    def half(self, points: LabelledPoints, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The half of that number and the rest."""
        return points.half(np.random.default_rng((self.seed, number)))

    def cut(self, points: LabelledPoints, samples: int) -> LabelledPoints:
        """At most so many samples, each class in proportion."""
        if len(points.rows) <= samples:
            return points
        return points.take(stratified(points.labels, samples, np.random.default_rng(self.seed)))

    def compare(self, first: LabelledPoints, second: LabelledPoints) -> SetComparison:
        """Measure the whole and the halves."""
        result = self.measure(first, second)
        parts = [
            self.measure(*(points.take(self.half(points, number)[0]) for points in (first, second)))
            for number in range(self.resamples)
        ]
        distances = np.array([part.distance for part in parts])
        reach = NormalDist().inv_cdf((1 + self.confidence) / 2) * float(distances.std(ddof=1))
        met = [_same_class_nearest(part) for part in parts]
        whole = _same_class_nearest(result)
        return SetComparison(
            result,
            max(result.distance - reach, 0.0),
            result.distance + reach,
            distances,
            whole,
            {label: float(np.mean([one[label] for one in met if label in one])) for label in whole},
        )

    def floor(self, points: LabelledPoints) -> float:
        """Mean distance of two halves of a set that share no subject."""
        distances = []
        for number in range(self.resamples):
            one, other = self.half(points, number)
            if not len(other):
                return math.nan
            samples = min(len(one), len(other))
            distances.append(self.measure(*(self.cut(points.take(rows), samples) for rows in (one, other))).distance)
        return float(np.mean(distances))


def _same_class_nearest(result: DatasetDistance) -> dict[Any, bool]:
    """Whether the smallest label distance of a row is that to the same label."""
    return {
        label: result.other_classes[int(row.argmin())] == label
        for label, row in zip(result.classes, result.label_distance, strict=True)
        if label in result.other_classes
    }
