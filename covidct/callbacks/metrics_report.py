"""``MetricsReport``: the scores of a validation or test with their intervals, as files and in the loggers."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl

from covidct import RESEARCH_USE, __version__
from covidct.callbacks.checkpoints import is_trial
from covidct.callbacks.gathered import gather_classified, gather_scored
from covidct.callbacks.loggers import log_numbers, log_picture, log_table, write_picture
from covidct.callbacks.run_folder import run_folder
from covidct.errors import UsageError
from covidct.metrics import slice_report, subject_cases, triage_report
from covidct.report import figure_pixels, metric_figures, write_metric_tables
from covidct.report.metric_tables import class_rows
from covidct.report.tables import write_csv, write_json
from covidct.tasks import BaseTask, ClassificationTask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from covidct.callbacks.gathered import ClassifiedCases, ScoredCases
    from covidct.metrics import Cases, TriageReport

__all__ = ("MetricsReport",)

_LOGGER = logging.getLogger(__name__)
_OVERALL = ("accuracy", "calibration_error")
_AREAS = ("auroc", "auprc")


class MetricsReport(pl.Callback):
    """Writes what a validation or test found into ``metrics/val`` or ``metrics/test`` of the run's folder.

    ``val`` holds the latest validation, and tells its epoch and step. Of a classifier:

    * ``metrics.json``, ``metrics.csv``: every score of :func:`covidct.metrics.triage_report` of the cases (scans, of
      slice classifiers slices), each once over all processes, with 95 % bootstrap intervals over subjects; the same of
      subjects, where one has several cases (:func:`covidct.metrics.subject_cases`), and of slices, where the task
      scores them against slice labels.
    * ``classes.csv``: the table of a classification report, and ``confusion.csv``: counts and shares of each row; see
      :func:`covidct.report.write_metric_tables`.
    * ``confusion.png``, ``roc.png``, ``precision_recall.png``, ``calibration.png``: see
      :func:`covidct.report.metric_figures`.

    Of other tasks: ``metrics.json`` and ``metrics.csv`` with the scores that the task logs, and ``cases.csv`` with
    those of each case where it keeps them (volumes, slices, detections), numbered, without names. Their metrics keep
    no subjects, so there are no intervals.

    Loggers get the intervals beside the scores of the task (``val_auroc_low`` and ``val_auroc_high`` beside
    ``val_auroc``), and those that take tables and pictures (TensorBoard, Weights & Biases, MLflow) also the table and
    the pictures, as ``val/classes`` and ``val/roc``. All processes gather, the first one writes and logs. Nothing is
    written by sanity checks, with ``fast_dev_run``, and while a network gives probabilities that are not finite.

    Args:
        resamples: bootstrap resamples of a test (recommendation: 1000); 0 leaves the intervals out.
        val_resamples: of a validation (recommendation: 200, a fifth of the time).
        every_n_epochs: validations of other epochs of a training are passed over; counted from 1.
        figures: draw the pictures.

    Raises:
        UsageError: for a number out of range, or a task that is none of the library's.
    """

    def __init__(
        self, *, resamples: int = 1000, val_resamples: int = 200, every_n_epochs: int = 1, figures: bool = True
    ) -> None:
        """Check the numbers."""
        least = {
            "resamples": (resamples, 0),
            "val_resamples": (val_resamples, 0),
            "every_n_epochs": (every_n_epochs, 1),
        }
        for name, (value, lowest) in least.items():
            if type(value) is not int or value < lowest:
                raise UsageError(f"{name}={value!r} must be a whole number of at least {lowest}.")
        self.resamples, self.val_resamples = resamples, val_resamples
        self.every_n_epochs, self.figures = every_n_epochs, figures

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a module whose metrics are unknown."""
        _task(pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report a validation, before the task drops its metrics."""
        passed_over = trainer.state.fn == "fit" and (trainer.current_epoch + 1) % self.every_n_epochs
        if not trainer.sanity_checking and not passed_over:
            self._report(trainer, _task(pl_module), "val", self.val_resamples)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report a test, before the task drops its metrics."""
        self._report(trainer, _task(pl_module), "test", self.resamples)

    def _report(self, trainer: pl.Trainer, task: BaseTask, stage: str, resamples: int) -> None:
        """Gather on every process, write on the first."""
        folder = run_folder(trainer) / "metrics" / stage  # asks all processes
        classified = gather_classified(trainer, task, stage) if isinstance(task, ClassificationTask) else None
        scored = gather_scored(task, stage) if classified is None else None
        if not trainer.is_global_zero or is_trial(trainer):
            return
        run = {
            "covidct": __version__,
            "task": type(task).__name__,
            "stage": stage,
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
        }
        if classified is not None:
            self._report_classes(trainer, task.class_names, classified, folder, run, resamples)
        elif scored is not None:
            _write_scores(scored, folder, run)

    def _report_classes(
        self,
        trainer: pl.Trainer,
        names: tuple[str, ...],
        found: ClassifiedCases,
        folder: Path,
        run: dict[str, Any],
        resamples: int,
    ) -> None:
        """Tables, numbers and pictures of a classifier."""
        stage = run["stage"]
        report = _scored(found.cases, names, resamples)
        if report is None:
            return
        if found.volumes:
            report = replace(report, slices=slice_report(found.volumes, positive=names[-1], resamples=resamples))
        write_metric_tables(report, folder, levels=_levels(found, names, resamples), run=run)
        if resamples:
            log_numbers(trainer, {f"{stage}_{name}": value for name, value in _intervals(report)})
        log_table(trainer, f"{stage}/classes", class_rows(report))
        if self.figures:
            for name, figure in metric_figures(report, found.cases.prob, found.cases.target).items():
                pixels = figure_pixels(figure)
                write_picture(folder / f"{name}.png", pixels)
                log_picture(trainer, f"{stage}/{name}", pixels)


def _levels(found: ClassifiedCases, names: tuple[str, ...], resamples: int) -> dict[str, TriageReport]:
    """The same predictions by subject, where one has several cases, and by slice, where these have classes."""
    units = {"slice": found.slices}
    if len(np.unique(found.cases.subject)) < len(found.cases.subject):
        units = {"subject": subject_cases(found.cases), **units}
    reports = {level: _scored(cases, names, resamples) for level, cases in units.items() if cases is not None}
    return {level: report for level, report in reports.items() if report is not None}


def _scored(cases: Cases, names: tuple[str, ...], resamples: int) -> TriageReport | None:
    """A report; None, and said, where there is nothing to score."""
    lost = int((~np.isfinite(cases.prob).all(1)).sum())
    if lost or not len(cases.target):
        _LOGGER.warning(
            "No report of metrics: %s.",
            f"{lost} of {len(cases.target)} cases have probabilities that are not finite" if lost else "no cases",
        )
        return None
    return triage_report(cases.prob, cases.target, cases.subject, names, resamples=resamples)


def _intervals(report: TriageReport) -> Iterator[tuple[str, float]]:
    """Ends of the intervals of the scores that the task logs, named as :class:`covidct.metrics.CaseMetrics` names them.

    That is ``auroc_low`` for the macro mean, ``auroc_covid_low`` for the last class.
    """
    last = report.class_names[-1]
    for metric, scopes in report.scores.items():
        for scope, estimate in scopes.items():
            if metric in _OVERALL:
                name = metric
            elif metric in _AREAS and scope in ("macro", last):
                name = metric if scope == "macro" else f"{metric}_{scope}"
            elif metric not in _AREAS and scope in (*report.class_names, "macro"):
                name = f"{metric}_{scope}"
            else:
                continue
            yield f"{name}_low", estimate.low
            yield f"{name}_high", estimate.high


def _write_scores(found: ScoredCases, folder: Path, run: dict[str, Any]) -> None:
    """Scores of a task that is no classifier."""
    record = {
        "kind": "covidct.metrics",
        "version": 1,
        "research_use": RESEARCH_USE,
        "cases": len(found.rows) or None,
        "scores": found.scores,
        "run": run,
    }
    write_json(record, folder / "metrics.json")
    rows = [{"metric": name, "value": value, "research_use": RESEARCH_USE} for name, value in found.scores.items()]
    write_csv(rows, folder / "metrics.csv", columns=["metric", "value", "research_use"])
    if found.rows:
        cases = [
            {"case": f"c{number:05d}", **row, "research_use": RESEARCH_USE} for number, row in enumerate(found.rows, 1)
        ]
        write_csv(cases, folder / "cases.csv", columns=list(cases[0]))


def _task(module: pl.LightningModule) -> BaseTask:
    """The task, whose metrics are known."""
    if not isinstance(module, BaseTask):
        raise UsageError(
            f"MetricsReport reads the metrics of a task of covidct, {type(module).__name__} is none: leave it out."
        )
    return module
