"""``PredictionWriter``: the predictions of a run as one table, complete and without duplicates over all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
from torch import distributed

from covidct import RESEARCH_USE
from covidct.callbacks.checkpoints import is_trial
from covidct.callbacks.run_folder import run_folder
from covidct.errors import UsageError
from covidct.report.tables import write_csv
from covidct.tasks import ClassificationTask, SegmentationTask, SliceSegmentationTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from covidct.sample import Batch
    from covidct.tasks import BaseTask

    Stage = Literal["val", "test", "predict"]

__all__ = ("PredictionWriter",)

_STAGES = ("val", "test", "predict")
_LIGHTNINGS = {"validate": "val", "test": "test", "predict": "predict"}


class PredictionWriter(pl.Callback):
    """Writes ``predictions-<stage>.csv`` into the run's folder when a stage ends.

    Columns for a classifier: id, subject, label (name of the true class, empty where unknown), predicted,
    ``prob_<class>``, research_use; for a network that segments lungs, in ``predict`` alone: id, subject,
    ``volume_ml_<lung>`` of volumes or ``area_cm2`` of slices, research_use. Subjects are numbered in the order of the
    file, ``s0001``, so that slices of one can be told and none be traced.

    Under several processes the rows are in the order of the data set, as samplers deal it out, and a sample that a
    sampler repeats is written once, told by its id. All processes gather, the first one writes, the whole file or none.
    Loaders of covidct's data modules share out any number of samples; with a loader of your own, Lightning cannot share
    out a prediction of fewer samples than processes, unless it has a ``DistributedSampler``.

    Args:
        stages: of ``"val"`` (the latest validation), ``"test"`` and ``"predict"``.

    Raises:
        UsageError: for an unknown stage, or a task whose predictions in a stage are no row of numbers.
    """

    def __init__(self, *, stages: tuple[Literal["val", "test", "predict"], ...] = ("test", "predict")) -> None:
        """Check the stages."""
        unknown = [stage for stage in stages if stage not in _STAGES]
        if unknown or not stages or isinstance(stages, str):
            raise UsageError(f"stages={stages!r} are not usable: give one or more of {', '.join(_STAGES)}.")
        self.stages = tuple(stages)
        self._rows: dict[tuple[int, int], dict[str, Any]] = {}
        self._seen: dict[int, int] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse a task without rows."""
        asked = _LIGHTNINGS.get(stage)
        if asked in self.stages or (stage == "fit" and "val" in self.stages):
            _require_rows(pl_module, asked or "val")

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a table."""
        self._begin()

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a table."""
        self._begin()

    def on_predict_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a table."""
        self._begin()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401  (Lightning's hook)
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add what the metrics of the task got of the batch."""
        if "val" in self.stages and not trainer.sanity_checking:
            self._add(_classified(pl_module, batch, "val"), dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add what the metrics of the task got of the batch."""
        if "test" in self.stages:
            self._add(_classified(pl_module, batch, "test"), dataloader_idx)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the predictions of the batch."""
        if "predict" in self.stages:
            self._add(_predicted(pl_module, outputs), dataloader_idx)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the table."""
        if not trainer.sanity_checking:
            self._write(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the table."""
        self._write(trainer, pl_module, "test")

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the table."""
        self._write(trainer, pl_module, "predict")

    def _begin(self) -> None:
        self._rows, self._seen = {}, {}

    def _add(self, rows: Sequence[dict[str, Any]], loader: int) -> None:
        """Keep rows by their loader and their place in this process's share of it."""
        for row in rows:
            place = self._seen.get(loader, 0)
            self._rows[loader, place] = row
            self._seen[loader] = place + 1

    def _write(self, trainer: pl.Trainer, module: pl.LightningModule, stage: Stage) -> None:
        """Gather on every process, write on the first."""
        if stage not in self.stages:
            return
        folder = run_folder(trainer)  # asks all processes
        shares, self._rows = _from_all_processes(self._rows), {}
        if not trainer.is_global_zero or is_trial(trainer):
            return
        placed = [(loader, place, rank) for rank, share in enumerate(shares) for loader, place in share]
        rows: dict[str, dict[str, Any]] = {}
        for loader, place, rank in sorted(placed):  # samplers deal the samples out in turn
            row = shares[rank][loader, place]
            rows.setdefault(row["id"], row)
        columns = ["id", "subject", *_columns(module), "research_use"]
        write_csv(_with_pseudonyms(list(rows.values())), folder / f"predictions-{stage}.csv", columns=columns)


def _from_all_processes(rows: dict[tuple[int, int], dict[str, Any]]) -> list[dict[tuple[int, int], dict[str, Any]]]:
    """The rows of each process, by rank."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [rows]
    shares: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shares, rows)
    return shares


def _with_pseudonyms(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the number of their subject in place of its key."""
    keys = dict.fromkeys(row["subject"] for row in rows)
    number = {key: f"s{place:04d}" for place, key in enumerate(keys, 1)}
    return [{**row, "subject": number[row["subject"]], "research_use": RESEARCH_USE} for row in rows]


def _columns(module: pl.LightningModule) -> list[str]:
    """What stands between the subject and the last column."""
    if isinstance(module, ClassificationTask):
        return ["label", "predicted", *(f"prob_{name}" for name in module.class_names)]
    if isinstance(module, SegmentationTask):
        return [f"volume_ml_{lung}" for lung in module.class_names[1:]]
    return ["area_cm2"]


def _classified(module: pl.LightningModule, batch: Batch, stage: str) -> list[dict[str, Any]]:
    """Rows of the batch that the metrics of a classifier got last."""
    task: Any = module
    prob = task._metrics(stage).prob[-1]  # a second pass of the network would cost as much as the first
    return _class_rows(task, {"id": batch["id"], "subject": batch["subject"], "label": batch["label"], "prob": prob})


def _predicted(module: pl.LightningModule, outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of what ``predict_step`` gave."""
    task: Any = module
    if isinstance(module, ClassificationTask):
        return _class_rows(task, outputs)
    values = outputs["volume_ml"] if "volume_ml" in outputs else outputs["area_cm2"][:, None]
    return [
        {"id": name, "subject": subject, **dict(zip(_columns(module), row, strict=True))}
        for name, subject, row in zip(outputs["id"], outputs["subject"].tolist(), values.tolist(), strict=True)
    ]


def _class_rows(task: BaseTask, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a classifier."""
    names, prob = task.class_names, known["prob"].float().cpu()
    called = known["pred"] if "pred" in known else prob.argmax(1)
    labels = known["label"].tolist() if "label" in known else [-1] * len(prob)
    rows = zip(known["id"], known["subject"].tolist(), labels, called.tolist(), prob.tolist(), strict=True)
    return [
        {"id": name, "subject": subject, "label": names[label] if label >= 0 else "", "predicted": names[index]}
        | {f"prob_{other}": value for other, value in zip(names, values, strict=True)}
        for name, subject, label, index, values in rows
    ]


def _require_rows(module: pl.LightningModule, stage: str) -> None:
    """Refuse a task whose predictions are no row of numbers.

    Raises:
        UsageError: names what to do.
    """
    lungs = isinstance(module, SegmentationTask | SliceSegmentationTask)
    if not isinstance(module, ClassificationTask) and not (lungs and stage == "predict"):
        rest = "set stages=[predict]" if lungs else "leave the callback out"
        raise UsageError(
            f"PredictionWriter has no rows of {type(module).__name__} in {stage!r}, which gives no probabilities "
            f"there: {rest}."
        )
