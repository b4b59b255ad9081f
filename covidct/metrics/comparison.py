"""``compare_predictions``: variants of a classifier, trained with several seeds, on the same test cases."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError
from covidct.metrics.paired import McNemar, auroc_difference, mcnemar
from covidct.metrics.triage import triage_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from covidct.metrics.estimates import Estimate, TriageReport
    from covidct.metrics.scores import Floats, Ints

__all__ = ("PairedComparison", "PairedTest", "compare_predictions")


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two variants on the same cases.

    Attributes:
        a: name of the first variant.
        b: name of the second variant.
        seed: of both trainings; None: the probabilities of all seeds averaged per case.
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
        reports: variant to the report of its probabilities averaged over the seeds.
        seed_reports: variant to seed to report.
        tests: of each pair of variants: over the averaged probabilities first, then seed by seed.
    """

    reports: Mapping[str, TriageReport]
    seed_reports: Mapping[str, Mapping[int, TriageReport]]
    tests: tuple[PairedTest, ...]

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
            "pooling_of_seeds": "mean probability per case",
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
