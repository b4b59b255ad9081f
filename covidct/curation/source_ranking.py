"""``rank_sources``: which data set is nearest to a target, with intervals from halves of the subjects."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidct.curation.set_comparison import ComparisonPlan
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from covidct.curation.label_distance import LabelDistance
    from covidct.curation.labelled import Features, LabelledSet
    from covidct.curation.otdd import Outer
    from covidct.curation.set_comparison import SetComparison

__all__ = ("RankedSource", "SourceRanking", "compare_sets", "rank_sources")


@dataclass(frozen=True, slots=True, eq=False)
class RankedSource:
    """A candidate in a ranking.

    Attributes:
        name: of the candidate.
        comparison: of the target with it.
        nearest: share of the halves in which it is the nearest of all candidates; NaN where one of them has no halves.
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
            of 0, at half of the samples. It compares with the ``halves_mean`` of a candidate, not with its distance,
            which is of all samples and so smaller. NaN when the target cannot be halved.
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
    target. Label distances are computed once, and so is the entropic transport of the target and of its halves onto
    themselves: the weight of the entropy is one for all candidates.

    Args:
        target: the data set that a network is wanted for.
        candidates: name to data set.
        features: see :func:`covidct.curation.otdd`, as the further ones; taken once of each set.
        label_distance: distance of two classes.
        debiased: subtract half of the distance of each set to itself.
        outer: solver.
        epsilon: weight of the entropy, relative to the mean cost between the samples of the target.
        max_samples: of each set; 2,000, what the exact solver takes. None: all of the smallest set.
        min_class_size: classes with fewer samples are left out.
        resamples: number of halves.
        confidence: of the intervals.
        seed: of everything that is drawn.

    Returns:
        The candidates, nearest first.

    Raises:
        UsageError: without candidates, for options out of range, or as :func:`covidct.curation.otdd`.
        InputError: as :func:`covidct.curation.otdd`, and where the smallest set has too few samples for the classes of
            another, two of each.
    """
    if not candidates:
        raise UsageError("There is no candidate: name at least one data set to rank.")
    plan = ComparisonPlan(
        features, label_distance, debiased, outer, epsilon, max_samples, min_class_size, resamples, confidence, seed
    )
    whole = {name: plan.prepare(data, name) for name, data in candidates.items()}
    first = plan.prepare(target, "The target")
    samples = plan.common({"The target": first, **whole})
    first = plan.cut(first, samples)
    weight = plan.weight(first)
    compared = {name: plan.compare(first, plan.cut(points, samples), weight) for name, points in whole.items()}
    halves = np.array([one.halves for one in compared.values()])
    nearest = halves.argmin(axis=0) if np.isfinite(halves).all() else np.full(resamples, np.nan)
    sources = [
        RankedSource(name, one, math.nan if np.isnan(nearest).any() else float((nearest == number).mean()))
        for number, (name, one) in enumerate(compared.items())
    ]
    sources.sort(key=lambda source: source.comparison.result.distance)
    return SourceRanking(tuple(sources), plan.floor(first, weight), samples, confidence, resamples)


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
    limit theorems for empirical transportation cost in general dimension", Ann Probab 2019;47:926). Of an odd number of
    subjects r are kept and d left out, and the variance is r / d times that of the halves, by the class where that is
    the most. The bootstrap is no use here: repeated samples move the distance itself. The expectation is that of
    samples of this size: the interval does not cover the bias of small samples. It rests on subjects: with one of a
    class there is none, and with a few it is rough.

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
    plan = ComparisonPlan(
        features, label_distance, debiased, outer, epsilon, max_samples, min_class_size, resamples, confidence, seed
    )
    return plan.compare(plan.prepare(first, "The first set"), plan.prepare(second, "The second set"))
