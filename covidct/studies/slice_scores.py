"""Slice-level scores of a study's runs: the kept attention against the slice labels of the test part."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.metrics import VolumeSlices, slice_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from covidct.metrics import PairedComparison, SliceReport, TriageReport
    from covidct.studies.comparison import StudyData
    from covidct.studies.runs import TestPredictions

__all__ = ("slice_labels", "with_slice_scores")


def slice_labels(cohort: StudyData) -> dict[str, NDArray[np.int64]]:
    """Labels of the slices of a cohort's test part: id of the scan to (D,) classes, -1 unknown.

    Args:
        cohort: whose slices keep their number whatever the enhancement and masking.

    Returns:
        Nothing for scans without slice labels.
    """
    module = cohort.build()
    module.prepare_data()
    module.setup("test")
    return {
        name: labels.numpy()
        for batch in module.test_dataloader()
        if "slice_label" in batch
        for name, labels in zip(batch["id"], batch["slice_label"], strict=True)
    }


def with_slice_scores(
    comparison: PairedComparison,
    runs: Mapping[str, Mapping[int, TestPredictions]],
    labels: Mapping[str, NDArray[np.int64]],
    *,
    resamples: int,
) -> PairedComparison:
    """The comparison with slice-level scores in the reports that can have them.

    Seeds are pooled as probabilities are: each slice's shares are averaged, which keeps their sum one.

    Args:
        comparison: of the runs.
        runs: variant to seed to predictions.
        labels: of :func:`slice_labels`.
        resamples: of the bootstrap over subjects.
    """

    def scored(report: TriageReport, cases: Sequence[TestPredictions]) -> TriageReport:
        return replace(report, slices=_slice_report(cases, labels, resamples))

    return replace(
        comparison,
        reports={name: scored(report, list(runs[name].values())) for name, report in comparison.reports.items()},
        seed_reports={
            name: {seed: scored(report, [runs[name][seed]]) for seed, report in reports.items()}
            for name, reports in comparison.seed_reports.items()
        },
    )


def _slice_report(
    runs: Sequence[TestPredictions], labels: Mapping[str, NDArray[np.int64]], resamples: int
) -> SliceReport | None:
    """Scores of the averaged shares of runs on the same cases; None without attention or slice labels."""
    first = runs[0]
    last = len(first.class_names) - 1
    if not all(run.attention for run in runs):
        return None
    prob = np.mean([run.ordered(first, what="A run") for run in runs], axis=0)
    volumes = []
    for case, name in enumerate(first.id):
        if name not in labels:
            continue
        shares = np.mean([_shares(run, name) for run in runs], axis=0)
        real = np.isfinite(shares)
        classes = labels[name][: len(shares)][real]
        truth = np.where(classes < 0, -1, classes == last)
        volumes.append(VolumeSlices(shares[real], truth, bool(prob[case].argmax() == last), first.group[case]))
    if not any((volume.label >= 0).any() for volume in volumes):
        return None
    return slice_report(volumes, positive=first.class_names[last], resamples=resamples)


def _shares(run: TestPredictions, name: str) -> NDArray[np.float64]:
    """(D,) attention of a case, NaN on slices that are none of the scan's."""
    found: NDArray[Any] = np.array(run.attention[run.id.index(name)], dtype=np.float64)
    return found
