"""What the metrics of a task hold, gathered over all processes: cases of classifiers, else scores and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from covidct.metrics import (
    SEGMENTATION_SCORES,
    CaseMetrics,
    DetectionMetrics,
    SegmentationMetrics,
    SliceMaskMetrics,
    SliceMetrics,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytorch_lightning as pl
    from numpy.typing import NDArray

    from covidct.metrics import Cases, VolumeSlices
    from covidct.tasks import BaseTask, ClassificationTask

__all__ = ("ClassifiedCases", "ScoredCases", "gather_classified", "gather_scored")


@dataclass(frozen=True, slots=True)
class ClassifiedCases:
    """What a classifier said of a stage.

    Attributes:
        cases: scans, or slices of a classifier of slices.
        volumes: attention and labels of slices, where a volume has any; empty without.
        slices: classes of labelled slices, of a task that gives each slice a class; else None.
    """

    cases: Cases
    volumes: list[VolumeSlices]
    slices: Cases | None


@dataclass(frozen=True, slots=True)
class ScoredCases:
    """What another task reached in a stage.

    Attributes:
        scores: means and areas by name, NaN where not defined.
        rows: scores of each case, where the task keeps them; without names of cases.
    """

    scores: Mapping[str, float]
    rows: list[dict[str, float]]


def gather_classified(trainer: pl.Trainer, task: ClassificationTask, stage: str) -> ClassifiedCases:
    """Gather before the task scores and drops its metrics; every process calls this, with cases or without.

    Args:
        trainer: of the run.
        task: in the end of an epoch.
        stage: ``"val"`` or ``"test"``.

    Returns:
        The same on every process.
    """
    metrics = task._metrics(stage)
    with metrics.sync_context():
        cases = metrics.cases()
    there = getattr(task, f"{stage}_slice_metrics", None) is not None
    if not trainer.strategy.reduce_boolean_decision(there, all=False):  # a process without slices takes part
        return ClassifiedCases(cases, [], None)
    slices: CaseMetrics | SliceMetrics = task._metrics(f"{stage}_slice")
    with slices.sync_context():
        if isinstance(slices, CaseMetrics):
            found = slices.cases()
            return ClassifiedCases(cases, [], found if len(found.target) else None)
        volumes = slices.volumes()
    return ClassifiedCases(cases, volumes if any((one.label >= 0).any() for one in volumes) else [], None)


def gather_scored(task: BaseTask, stage: str) -> ScoredCases:
    """Score before the task does and drops its metrics; every process calls this, with cases or without.

    Args:
        task: in the end of an epoch.
        stage: ``"val"`` or ``"test"``.

    Returns:
        The same on every process.
    """
    metrics = task._metrics(stage)
    scores = {name: float(value) for name, value in metrics.compute().items()}  # kept: the task need not score again
    make = next((make for kind, make in _ROWS.items() if isinstance(metrics, kind)), None)
    if make is None:
        return ScoredCases(scores, [])
    with metrics.sync_context():
        return ScoredCases(scores, make(metrics, metrics.rows()))


def _segmented(metrics: SegmentationMetrics, rows: dict[str, NDArray[Any]]) -> list[dict[str, float]]:
    """Scores of each structure of each scan."""
    names = SEGMENTATION_SCORES if metrics.distances else SEGMENTATION_SCORES[:1]
    return [
        {
            f"{name}_{structure}": float(scan[number, place])
            for place, name in enumerate(names)
            for number, structure in enumerate(metrics.structures)
        }
        for scan in rows["scores"]
    ]


def _sliced(metrics: SliceMaskMetrics, rows: dict[str, NDArray[Any]]) -> list[dict[str, float]]:
    """Dice of each slice."""
    return [{"dice": float(both / either) if either else float("nan")} for both, either in rows["counts"]]


def _detected(metrics: DetectionMetrics, rows: dict[str, NDArray[Any]]) -> list[dict[str, float]]:
    """Average precision of the reference, detections and objects of each image."""
    return [
        {"reference_ap": float(ap.mean()), "detections": int(found), "objects": int(true)}
        for ap, (found, true) in zip(rows["ap"], rows["numbers"], strict=True)
    ]


_ROWS: dict[type, Any] = {SegmentationMetrics: _segmented, SliceMaskMetrics: _sliced, DetectionMetrics: _detected}
