"""``compare_predictions``: variants of a classifier, trained with several seeds, on the same test cases."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from covidct.errors import UsageError
from covidct.metrics.estimates import Estimate
from covidct.metrics.paired import McNemar, auroc_difference, mcnemar
from covidct.metrics.triage import triage_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from covidct.metrics.estimates import TriageReport
    from covidct.metrics.scores import Floats, Ints

__all__ = ("PairedComparison", "PairedTest", "compare_cohorts", "compare_predictions")

_MEAN: Final = "mean probability per case"
_ALL_CASES: Final = "all cases"


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two variants on the same cases.

    Attributes:
        a: name of the first variant.
        b: name of the second variant.
        seed: of both trainings; None: all seeds, joined as :attr:`PairedComparison.pooling` says.
        mcnemar: exact test on who is right.
        auroc_difference: AUROC of the last class, first minus second variant.
    """

    a: str
    b: str
    seed: int | None
    mcnemar: McNemar
    auroc_difference: Estimate


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """All variants on the same cases.

    Attributes:
        reports: variant to the report of all seeds.
        seed_reports: variant to seed to report.
        tests: of each pair of variants: all seeds first, then seed by seed.
        pooling: how the seeds are joined: ``"mean probability per case"`` where they share their cases
            (:func:`compare_predictions`), ``"all cases"`` where each has its own (:func:`compare_cohorts`).
    """

    reports: Mapping[str, TriageReport]
    seed_reports: Mapping[str, Mapping[int, TriageReport]]
    tests: tuple[PairedTest, ...]
    pooling: Literal["mean probability per case", "all cases"] = _MEAN

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants."""
        return tuple(self.reports)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, the same for all variants."""
        return tuple(next(iter(self.seed_reports.values())))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON (NaN stays NaN: see :func:`covidct.report.write_study_json`)."""
        return {
            "variants": list(self.variants),
            "seeds": list(self.seeds),
            "pooling_of_seeds": self.pooling,
            "reports": {name: report.to_dict() for name, report in self.reports.items()},
            "seed_reports": {
                name: {str(seed): report.to_dict() for seed, report in reports.items()}
                for name, reports in self.seed_reports.items()
            },
            "tests": [asdict(test) for test in self.tests],
        }


def compare_predictions(
    prob: Mapping[str, Mapping[int, ArrayLike]],
    target: ArrayLike,
    subject: ArrayLike,
    class_names: Sequence[str],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedComparison:
    """Score variants on the same cases, alone and against one another.

    Several seeds are several trainings, not several patients: adding up their cases would count each patient more than
    once. So the seeds are pooled by averaging each case's probabilities, which gives one prediction per case and
    variant and an exact test; the tests of single seeds stand beside it.

    Args:
        prob: variant to training seed to (N, C) probabilities; the same cases in the same order everywhere.
        target: (N,) class indices.
        subject: (N,) anything that names the subject, the unit of resampling.
        class_names: C names; AUROCs are compared for the last one (COVID-19 in the canonical order).
        resamples: of the bootstrap over subjects; 0 leaves intervals out.
        confidence: of the intervals, in (0, 1).
        seed: of the resampling, the same draws for all variants.

    Returns:
        Reports and tests.

    Raises:
        UsageError: without variants or seeds, when the variants' seeds differ, or the arrays do not fit together.
    """
    seeds = {name: tuple(runs) for name, runs in prob.items()}
    if not seeds or len(set(seeds.values())) > 1 or not next(iter(seeds.values())):
        raise UsageError(f"Each variant must be trained with the same seeds, at least one; these have {seeds}.")
    arrays = {name: {k: _array(values) for k, values in runs.items()} for name, runs in prob.items()}
    if len({values.shape for runs in arrays.values() for values in runs.values()}) > 1:
        raise UsageError("The variants have probabilities of unlike shapes: compare them on the same cases.")
    settings = {"resamples": resamples, "confidence": confidence, "seed": seed}

    def report(values: Floats) -> TriageReport:
        return triage_report(values, target, subject, class_names, **settings)  # type: ignore[arg-type]

    means = {name: np.mean(list(runs.values()), axis=0) for name, runs in arrays.items()}
    reports = {name: report(values) for name, values in means.items()}
    seed_reports = {name: {k: report(values) for k, values in runs.items()} for name, runs in arrays.items()}
    truth = np.asarray(target)
    pairs = list(combinations(arrays, 2))
    tests = [
        _test(a, b, key, left, right, truth, subject, settings)
        for key in (None, *next(iter(seeds.values())))
        for a, b in pairs
        for left, right in [(means[a], means[b]) if key is None else (arrays[a][key], arrays[b][key])]
    ]
    return PairedComparison(reports, seed_reports, tuple(tests))


def compare_cohorts(
    prob: Mapping[str, Mapping[int, ArrayLike]],
    target: Mapping[int, ArrayLike],
    subject: Mapping[int, ArrayLike],
    class_names: Sequence[str],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedComparison:
    """Score variants where each seed has a cohort of its own: other subjects, another split, another network.

    No case is in two cohorts, so the counts of all cohorts add up and McNemar's test over all of them stays exact.
    Scores of unlike networks have no common scale: AUROCs and their differences are means over the seeds, with the
    lowest and the highest seed in place of an interval, and the joined reports have no ROC curve.

    Args:
        prob: variant to seed to (N, C) probabilities; the variants of one seed have the same cases in the same order.
        target: seed to (N,) class indices.
        subject: seed to (N,) anything that names the subject; subjects of two seeds are never the same.
        class_names: as in :func:`compare_predictions`.
        resamples: of the bootstrap over subjects; 0 leaves intervals out.
        confidence: of the intervals, in (0, 1).
        seed: of the resampling.

    Returns:
        Reports and tests.

    Raises:
        UsageError: when the variants' seeds differ, or the arrays do not fit together.
    """
    settings = {"resamples": resamples, "confidence": confidence, "seed": seed}
    seeds = list(target)
    if not seeds or not prob or any(list(runs) != seeds for runs in prob.values()) or list(subject) != seeds:
        raise UsageError(f"Each variant, its truth and its subjects must have the same seeds, here {seeds}.")

    def compared(chosen: Sequence[int]) -> PairedComparison:
        names = [f"{k}:{name}" for k in chosen for name in np.asarray(subject[k]).tolist()]
        truth = np.concatenate([np.asarray(target[k]) for k in chosen])
        runs = {name: {chosen[0]: np.concatenate([_array(of[k]) for k in chosen])} for name, of in prob.items()}
        return compare_predictions(runs, truth, names, class_names, **settings)  # type: ignore[arg-type]

    single = {k: compared([k]) for k in seeds}
    joined = compared(seeds)
    pairs = range(len(joined.tests) // 2)  # each pair twice: of "all" its seeds, and of its only seed
    tests = [
        replace(joined.tests[i], auroc_difference=_over([found.tests[i].auroc_difference for found in single.values()]))
        for i in pairs
    ]
    tests += [replace(single[k].tests[i], seed=k) for k in seeds for i in pairs]
    seed_reports = {name: {k: single[k].reports[name] for k in seeds} for name in prob}
    reports = {name: _with_mean_auroc(joined.reports[name], list(seed_reports[name].values())) for name in prob}
    return PairedComparison(reports, seed_reports, tuple(tests), _ALL_CASES)


def _with_mean_auroc(report: TriageReport, seeds: Sequence[TriageReport]) -> TriageReport:
    """The report with the ranking scores of its seeds."""
    ranked = {
        metric: {scope: _over([of.scores[metric][scope] for of in seeds]) for scope in report.scores[metric]}
        for metric in ("auroc", "auprc")
    }
    return replace(report, scores={**report.scores, **ranked}, roc={})


def _over(estimates: Sequence[Estimate]) -> Estimate:
    """Mean over the seeds, lowest and highest."""
    values = [estimate.value for estimate in estimates]
    return Estimate(float(np.mean(values)), float(np.min(values)), float(np.max(values)))


def _array(values: ArrayLike) -> Floats:
    """Probabilities as float64."""
    return np.asarray(values, dtype=np.float64)


def _test(
    a: str,
    b: str,
    seed: int | None,
    left: Floats,
    right: Floats,
    target: Ints,
    subject: ArrayLike,
    settings: Mapping[str, Any],
) -> PairedTest:
    """One pair of variants."""
    last = left.shape[1] - 1
    return PairedTest(
        a,
        b,
        seed,
        mcnemar(left.argmax(1) == target, right.argmax(1) == target),
        auroc_difference(left[:, last], right[:, last], target == last, subject, **settings),
    )
