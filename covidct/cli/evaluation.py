"""A task on labelled scans: predictions, report with intervals, page. What ``demo`` and ``test --out`` leave behind."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.errors import UsageError
from covidct.inference.batch_results import results_of_batch
from covidct.metrics import VolumeSlices, rates_table, slice_report, triage_report
from covidct.report import write_evaluation_page, write_metrics_json, write_predictions_csv
from covidct.report.tables import write_csv
from covidct.result import CohortResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from covidct.metrics import TriageReport
    from covidct.result import ScanResult
    from covidct.sample import Batch
    from covidct.tasks import BaseTask

__all__ = ("evaluate", "write_evaluation")

_PICTURED = 24  # right and as many wrong slices with pictures: the gallery of the page


def evaluate(
    task: BaseTask, batches: Iterable[Batch], *, run: dict[str, Any], resamples: int = 1000
) -> tuple[TriageReport, CohortResult]:
    """Apply a task to labelled batches and score it.

    Args:
        task: a classifier of volumes or of slices; is put into evaluation mode.
        batches: with ``label`` and ``subject``; scans of unknown class (-1) are not scored. Of slices each is a case of
            its own, and its subject is drawn as a whole.
        run: what makes the results, for the page.
        resamples: of the bootstrap over subjects.

    Returns:
        The report, with slice-level scores where the network has slice attention and the scans have slice labels; and
        all results with pictures.

    Raises:
        UsageError: when no scan has a label.
    """
    task.eval()
    results, subjects, slices = [], [], []
    shown: Counter[bool] = Counter()
    for batch in batches:
        found = results_of_batch(task, batch)
        results += found if batch["image"].ndim == 5 else _few_pictures(found, shown)
        subjects += batch["subject"].tolist()
        slices += _slices_of_batch(found, batch, positive=task.class_names[-1])
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
    if slices:
        report = replace(report, slices=slice_report(slices, positive=names[-1], resamples=resamples))
    return report, CohortResult(tuple(results), run)


def _few_pictures(results: Sequence[ScanResult], shown: Counter[bool]) -> list[ScanResult]:
    """Slices with pictures of the first right and the first wrong ones: a test part of thousands would fill the memory.

    Args:
        results: of a batch.
        shown: right or wrong to the number that has pictures; is counted up.
    """
    kept = []
    for result in results:
        right = result.predicted == result.label
        shown[right] += 1
        kept.append(result if shown[right] <= _PICTURED else replace(result, preview=None))
    return kept


def _slices_of_batch(results: Sequence[ScanResult], batch: Batch, *, positive: str) -> list[VolumeSlices]:
    """Attention and labels of the real slices, for the volumes that have both."""
    if "slice_label" not in batch or batch["image"].ndim == 4:  # of a batch of slices each is the case itself
        return []
    volumes = []
    for result, labels, subject in zip(results, batch["slice_label"], batch["subject"].tolist(), strict=True):
        attention = np.asarray(result.attention)
        real = np.isfinite(attention)
        classes = labels.cpu().numpy()[: len(attention)][real]
        if (classes >= 0).any():
            index = list(result.probabilities).index(positive)
            known = np.where(classes < 0, -1, classes == index)
            volumes.append(VolumeSlices(attention[real], known, result.predicted == positive, subject))
    return volumes


def write_evaluation(
    report: TriageReport,
    cohort: CohortResult,
    out: Path,
    *,
    title: str = "Evaluation",
    phantoms: bool = False,
    rates: bool = False,
) -> None:
    """Write ``metrics.json``, ``predictions.csv`` and ``report.html`` into a folder.

    Args:
        report: of the cohort.
        cohort: the results behind it.
        out: the folder; made when absent.
        title: headline of the page.
        phantoms: say that the scans are simulated.
        rates: write ``rates.csv`` too, the table of :func:`covidct.metrics.rates_table`.
    """
    write_metrics_json(report, out / "metrics.json", run=cohort.run)
    write_predictions_csv(cohort, out / "predictions.csv", class_names=report.class_names)
    write_evaluation_page(report, cohort, out / "report.html", title=title, phantoms=phantoms)
    if rates:
        table = rates_table(report.confusion, report.class_names)
        rows = [{"rate": name, **values} for name, values in table.T.to_dict().items()]
        write_csv(rows, out / "rates.csv", columns=["rate", *table.columns])
