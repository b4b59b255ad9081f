"""A task on labelled scans: predictions, report with intervals, page. What ``demo`` and ``test --out`` leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError
from covidct.inference.predictor import results_of_batch
from covidct.metrics import triage_report
from covidct.report import write_evaluation_page, write_metrics_json, write_predictions_csv
from covidct.result import CohortResult

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from covidct.metrics import TriageReport
    from covidct.sample import Batch
    from covidct.tasks import BaseTask

__all__ = ("evaluate", "write_evaluation")


def evaluate(
    task: BaseTask, batches: Iterable[Batch], *, run: dict[str, Any], resamples: int = 1000
) -> tuple[TriageReport, CohortResult]:
    """Apply a task to labelled batches and score it.

    Args:
        task: a volume classifier; is put into evaluation mode.
        batches: with ``label`` and ``subject``; scans of unknown class (-1) are not scored.
        run: what makes the results, for the page.
        resamples: of the bootstrap over subjects.

    Returns:
        The report, and all results with pictures.

    Raises:
        UsageError: when no scan has a label.
    """
    task.eval()
    results, subjects = [], []
    for batch in batches:
        results += results_of_batch(task, batch)
        subjects += batch["subject"].tolist()
    names = task.class_names
    labelled = [(result, subject) for result, subject in zip(results, subjects, strict=True) if result.label]
    if not labelled:
        raise UsageError("No scan of this part has a known class, so there is nothing to score: use `covidct predict`.")
    report = triage_report(
        np.array([[result.probabilities[name] for name in names] for result, _ in labelled]),
        np.array([names.index(result.label) for result, _ in labelled]),
        np.array([subject for _, subject in labelled]),
        names,
        resamples=resamples,
    )
    return report, CohortResult(tuple(results), run)


def write_evaluation(
    report: TriageReport, cohort: CohortResult, out: Path, *, title: str = "Evaluation", phantoms: bool = False
) -> None:
    """Write ``metrics.json``, ``predictions.csv`` and ``report.html`` into a folder.

    Args:
        report: of the cohort.
        cohort: the results behind it.
        out: the folder; made when absent.
        title: headline of the page.
        phantoms: say that the scans are simulated.
    """
    write_metrics_json(report, out / "metrics.json", run=cohort.run)
    write_predictions_csv(cohort, out / "predictions.csv", class_names=report.class_names)
    write_evaluation_page(report, cohort, out / "report.html", title=title, phantoms=phantoms)
