"""``SetComparison``: how far two sets are apart and with what interval, and the plan by which sets are halved."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.curation import transport
from covidct.curation.labelled import least_of, prepare, stratified
from covidct.curation.otdd import OwnCosts, check_options, measure
from covidct.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.curation.label_distance import LabelDistance, LabelDistances
    from covidct.curation.labelled import Features, LabelledPoints, LabelledSet
    from covidct.curation.otdd import DatasetDistance, Outer

__all__ = ("ComparisonPlan", "SetComparison", "cautions")


@dataclass(frozen=True, slots=True, eq=False)
class SetComparison:
    """Distance of two data sets with its interval, and how firmly their classes meet.

    Attributes:
        result: distance, label distances and coupling.
        low: lower end of the interval of the distance, at least 0; NaN where a class has a single subject, or a half
            would have a single sample of it: then there are no halves to tell how the distance varies.
        high: upper end, likewise.
        halves: (resamples,) distances between halves of the two sets; NaN likewise.
        same_class_nearest: class of the first set to whether, of all classes of the second, the one of the same label
            is the nearest; for classes that both sets have.
        same_class_share: the same as a share of the halves; NaN likewise.
        subjects: class of the first set to the number of its subjects, on which the interval rests.
        other_subjects: the same of the second set.
    """

    result: DatasetDistance
    low: float
    high: float
    halves: NDArray[np.float64]
    same_class_nearest: Mapping[Any, bool]
    same_class_share: Mapping[Any, float]
    subjects: Mapping[Any, int]
    other_subjects: Mapping[Any, int]

    @property
    def halves_mean(self) -> float:
        """Mean distance of the halves: what a distance of halves, as the floor of a ranking, is compared with."""
        return float(self.halves.mean())

    @property
    def fewest_subjects(self) -> int:
        """Subjects of the class that has the fewest, in either set."""
        return min((*self.subjects.values(), *self.other_subjects.values()))


@dataclass(frozen=True, slots=True)
class ComparisonPlan:
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
    known: LabelDistances = field(init=False)
    own: OwnCosts = field(init=False)

    def __post_init__(self) -> None:
        """Refuse options out of range; nothing is known yet."""
        known = check_options(self.label_distance, self.outer, self.epsilon, self.max_samples, self.min_class_size)
        if self.resamples < 2 or not 0 < self.confidence < 1:
            raise UsageError(
                f"resamples={self.resamples} must be at least 2 and confidence={self.confidence} between 0 and 1."
            )
        object.__setattr__(self, "known", known)
        object.__setattr__(self, "own", OwnCosts(known))

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

    def common(self, sets: Mapping[str, LabelledPoints]) -> int:
        """The number of samples to which sets are brought: the smallest set's.

        Raises:
            InputError: where it has no room for the classes of another.
        """
        smallest = min(sets, key=lambda name: len(sets[name].rows))
        samples, least = len(sets[smallest].rows), least_of(self.min_class_size)
        for name, points in sets.items():
            needed = int(np.minimum(points.counts(), least).sum())
            if needed > samples:
                raise InputError(
                    f"{smallest} has {samples} samples, but the {len(points.classes)} classes of {name} need {needed}, "
                    f"{least} of each: leave the smaller set out, or give more samples of it."
                )
        return samples

    def solver(self, samples: int) -> Outer:
        """Of the outer problem, for sets and for their halves."""
        if self.outer != "auto":
            return self.outer
        return "exact" if samples <= transport.EXACT_UP_TO else "entropic"

    def weight(self, points: LabelledPoints) -> float | None:
        """Weight of the entropy in units of the cost; None where there is none."""
        return self.epsilon * self.own.mean(points) if self.solver(len(points.rows)) == "entropic" else None

    def measure(
        self, first: LabelledPoints, second: LabelledPoints, outer: Outer, weight: float | None
    ) -> DatasetDistance:
        """The distance of two sets."""
        return measure(
            first,
            second,
            known=self.known,
            debiased=self.debiased,
            outer=outer,
            epsilon=self.epsilon,
            absolute=weight,
            own=self.own,
        )

    def half(self, points: LabelledPoints, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The half of that number and the rest."""
        return points.half(np.random.default_rng((self.seed, number)))

    def divisible(self, points: LabelledPoints) -> bool:
        """Whether halves show how a set varies: two subjects of each class, and of each class two samples in a half."""
        subjects = [*points.subject_counts().values(), *map(len, points.strata())]
        return min(subjects) > 1 and all(
            self._whole(points, self.half(points, number)[0]) for number in range(self.resamples)
        )

    def _whole(self, points: LabelledPoints, rows: NDArray[np.int64]) -> bool:
        """Whether a part has all classes, and enough of each for a covariance."""
        counts = np.bincount(points.labels[rows], minlength=len(points.classes))
        return bool(counts.min() >= min(self.min_class_size, 2))

    def cut(self, points: LabelledPoints, samples: int) -> LabelledPoints:
        """At most so many samples, each class in proportion."""
        if len(points.rows) <= samples:
            return points
        rng = np.random.default_rng(self.seed)
        return points.take(stratified(points.labels, samples, rng, least=least_of(self.min_class_size)))

    def compare(self, first: LabelledPoints, second: LabelledPoints, weight: float | None = None) -> SetComparison:
        """Measure the whole and the halves."""
        result = self.measure(first, second, self.outer, weight)
        sets = first, second
        parts = []
        if all(map(self.divisible, sets)):
            for number in range(self.resamples):
                one, other = (points.take(self.half(points, number)[0]) for points in sets)
                parts.append(self.measure(one, other, result.solver, result.epsilon))
        distances = np.array([part.distance for part in parts]) if parts else np.full(self.resamples, np.nan)
        variance = float(distances.var(ddof=1)) * max(map(_jackknife_factor, sets))
        reach = NormalDist().inv_cdf((1 + self.confidence) / 2) * math.sqrt(variance)
        met = [_same_class_nearest(part) for part in parts]
        whole = _same_class_nearest(result)
        return SetComparison(
            result,
            max(result.distance - reach, 0.0) if parts else math.nan,
            result.distance + reach,
            distances,
            whole,
            {label: float(np.mean([one[label] for one in met])) if met else math.nan for label in whole},
            first.subject_counts(),
            second.subject_counts(),
        )

    def floor(self, points: LabelledPoints, weight: float | None) -> float:
        """Mean distance of two halves of a set that share no subject; NaN where there are none."""
        if not self.divisible(points):
            return math.nan
        outer, distances = self.solver(len(points.rows)), []
        for number in range(self.resamples):
            rows = self.half(points, number)
            if not self._whole(points, rows[1]):
                return math.nan
            samples = min(map(len, rows))
            halves = [self.cut(points.take(one), samples) for one in rows]
            distances.append(self.measure(halves[0], halves[1], outer, weight).distance)
        return float(np.mean(distances))


def _jackknife_factor(points: LabelledPoints) -> float:
    """Subjects that a half keeps over those that it leaves out, of the class where that is the most."""
    return max((len(group) + 1) // 2 / max(len(group) // 2, 1) for group in points.strata())


def _same_class_nearest(result: DatasetDistance) -> dict[Any, bool]:
    """Whether the smallest label distance of a row is that to the same label."""
    return {
        label: result.other_classes[int(row.argmin())] == label
        for label, row in zip(result.classes, result.label_distance, strict=True)
        if label in result.other_classes
    }


def cautions(first: str, compared: Sequence[tuple[str, SetComparison]]) -> tuple[str, ...]:
    """Sentences about classes that were left out, and about sets that cannot be halved.

    Args:
        first: name of the first set.
        compared: name of each other set, and the first's comparison with it.
    """
    lost = {first: compared[0][1].result.dropped, **{name: one.result.other_dropped for name, one in compared}}
    subjects = {first: compared[0][1].subjects, **{name: one.other_subjects for name, one in compared}}
    single = {name: tuple(label for label, count in each.items() if count < 2) for name, each in subjects.items()}
    told = [(name, "left out for too few samples", labels) for name, labels in lost.items()]
    told += [
        (name, "one subject only, so that there are no halves and no interval", one) for name, one in single.items()
    ]
    sentences = [f"{name}: {what}: {', '.join(map(str, labels))}." for name, what, labels in told if labels]
    undivided = [name for name, one in compared if math.isnan(one.high)]
    if undivided and not any(single.values()):
        sentences.append(f"No interval for {', '.join(undivided)}: a half needs two samples of each class.")
    return tuple(sentences)
