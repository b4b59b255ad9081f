"""``ContrastiveTask``: loss, scores and online evaluation of every network that learns from two views of an image."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.errors import BatchError, UsageError
from covidct.labels import BINARY_CLASSES
from covidct.losses import InfoNCELoss
from covidct.metrics import ContrastiveMetrics, FeatureMetrics, case_scores, knn_probabilities, probe_probabilities
from covidct.sample import check_batch, collate, stable_hash
from covidct.tasks.base import BaseTask
from covidct.tasks.pretrained_subjects import SUBJECTS_KEY, pretrained_subjects, subjects_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pytorch_lightning.core.optimizer import LightningOptimizer
    from torch import Tensor
    from torch.optim import Optimizer

    from covidct.models import SelfTransDenseNet
    from covidct.sample import Batch, Kind

    Rows = dict[str, NDArray[Any]]

__all__ = ("ContrastiveTask",)

_LOGGER = logging.getLogger(__name__)
_PASSED_ON = ("id", "scan", "subject", "label")
_BANK = 4096  # labelled training slices that the evaluation looks at, at most: bounds its time (recommendation)
_CHUNK = 64  # of them at once


class ContrastiveTask(BaseTask):
    """Momentum contrast with a queue (He et al., CVPR 2020), and an evaluation of the features after each validation.

    Training batches carry ``views``, which :func:`covidct.transforms.moco_views` adds as the data module's
    ``train_transform``; labels play no part in it, and samples of unknown class (-1) are trained on like the others.
    Logs ``train_loss``, ``train_contrastive_accuracy`` and ``train_feature_std``
    (:class:`covidct.metrics.ContrastiveMetrics`).

    Validation and test batches carry ``image``. Their features give ``<stage>_feature_std``. Where labels exist, a
    nearest-neighbour vote and a linear probe (:func:`covidct.metrics.knn_probabilities`,
    :func:`covidct.metrics.probe_probabilities`) are fitted on the labelled slices of the data module's training part,
    as they are without augmentation, at most 4096 of them, evenly spaced. Subjects that are evaluated are left out of
    it. The scores are logged as ``<stage>_knn_<score>`` and ``<stage>_probe_<score>``, with the names of
    :class:`covidct.metrics.CaseMetrics`, each slice counted once over all processes. Without labels of two classes in
    the training part, and any in the part evaluated, nothing of them is logged. There is no ``val_loss``.

    Attributes:
        subjects: (n,) int64, hashes of the subjects that were trained on, here and in the pre-trainings that this one
            started from, as far as data modules of the library told; kept in the checkpoint, so that none of them
            judges a fine-tuning (:func:`covidct.tasks.pretrained_subjects.require_unseen`).

    Args:
        temperature: of :class:`covidct.losses.InfoNCELoss`.
        neighbours: how many vote in the nearest-neighbour evaluation.
        optimizer: as in :class:`BaseTask`.
        lr_scheduler: as in :class:`BaseTask`.

    Raises:
        UsageError: for a value out of range.
    """

    model: SelfTransDenseNet
    inputs: ClassVar[tuple[str, ...]] = ("views",)
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_slice",)
    target: ClassVar[str] = "views"  # the other view

    def __init__(
        self,
        *,
        temperature: float = 0.07,
        neighbours: int = 20,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network and the loss."""
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        if type(neighbours) is not int or neighbours < 1:
            raise UsageError(f"neighbours={neighbours!r} must be a whole number of at least 1.")
        self.neighbours = neighbours
        self._images_checked = False
        self.subjects = torch.empty(0, dtype=torch.int64)
        self.loss = InfoNCELoss(temperature)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the data, by which the features are judged."""
        return BINARY_CLASSES if self.preprocessing is None else self.preprocessing.classes

    def setup(self, stage: str) -> None:
        """Agree with the data module on the pre-processing; see :class:`BaseTask`."""
        super().setup(stage)
        self._images_checked = False

    def load_weights(self, weights: str) -> None:
        """Take over weights, and who they were pre-trained on; see :class:`BaseTask`."""
        super().load_weights(weights)
        self._add_subjects(pretrained_subjects(weights))

    def on_fit_start(self) -> None:
        """Begin or resume a training, and note whose images it sees."""
        super().on_fit_start()
        self._add_subjects(subjects_of(getattr(self.trainer, "datamodule", None), "train"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record and the hashes of the subjects."""
        super().on_save_checkpoint(checkpoint)
        if len(self.subjects):
            checkpoint[SUBJECTS_KEY] = self.subjects

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the record and the hashes of the subjects."""
        super().on_load_checkpoint(checkpoint)
        self._add_subjects(checkpoint.get(SUBJECTS_KEY, self.subjects))

    def check_batch(self, batch: Batch, *, label: bool = True) -> None:
        """Verify the first batch of a run against the contract.

        Args:
            batch: what the loader gives.
            label: whether it is to be trained on, and needs ``views``.

        Raises:
            BatchError: names the key and the fault.
        """
        if label:
            super().check_batch(batch)
        elif not self._images_checked:
            check_batch(batch, self.kind, ("image",))
            self._images_checked = True

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """A step of the optimizer, after which the key encoder follows."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.model.update_key()

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Features of a batch, as fine-tuning would begin with.

        Returns:
            ``id`` list of str, ``scan`` and ``subject`` (B,) int64, ``features`` (B, F) float32, and ``label`` (B,)
            int64 where the batch has it.
        """
        self.check_batch(batch, label=False)
        known = {key: batch[key] for key in _PASSED_ON if key in batch}
        return {**known, "features": self.model.encode(batch["image"]).float()}

    def _step(self, batch: Batch, stage: str) -> Tensor:
        """Loss of a training batch; features of another; see :class:`BaseTask`."""
        if stage != "train":
            self.check_batch(batch, label=False)
            return self._note(self._metrics(stage), batch)
        if "views" not in batch:
            raise BatchError(
                "The batch has no 'views' to contrast: set train_transform of the data module to "
                "covidct.transforms.moco_views."
            )
        self.check_batch(batch)
        output = self.model(*self.network_inputs(batch), step=self.global_step)
        logits = self.loss.logits(output["query"], output["key"], self.model.queue.clone())
        loss = self.loss.from_logits(logits)
        self.model.enqueue(output["key"])
        self._log_loss(stage, loss.detach(), len(logits))
        self._metrics(stage).update(logits, output["query"])
        return loss

    def _new_metrics(self, stage: str) -> ContrastiveMetrics | FeatureMetrics:
        """Scores of training batches; features of other samples."""
        return ContrastiveMetrics() if stage == "train" else FeatureMetrics(self.model.width)

    def _log_scores(self, stage: str) -> None:
        """Log the scores of the epoch, and what the features know of the classes."""
        if stage != "train" and not self.trainer.sanity_checking:
            self._evaluate(stage)
        super()._log_scores(stage)

    def _evaluate(self, stage: str) -> None:
        """Log the nearest-neighbour vote and the linear probe, where there are labels; alike on every process."""
        asked = _everywhere(self._metrics(stage), lambda rows: rows["target"] >= 0)
        bank = self._bank(asked["subject"]) if len(asked["target"]) else None
        if bank is None:
            return
        if not all(np.isfinite(rows["features"]).all() for rows in (bank, asked)):
            _LOGGER.warning("The features are not finite: they are not evaluated.")
            return
        known, classes = (bank["features"], bank["target"], asked["features"]), len(self.class_names)
        found = {
            "knn": knn_probabilities(*known, classes=classes, neighbours=self.neighbours),
            "probe": probe_probabilities(*known, classes=classes),
        }
        for judge, prob in found.items():
            scores = case_scores(prob, asked["target"], self.class_names)
            self.log_dict({f"{stage}_{judge}_{name}": value for name, value in scores.items()}, on_epoch=True)

    def _bank(self, asked: NDArray[np.int64]) -> Rows | None:
        """Features of labelled training samples of other subjects than ``asked``; None without two classes of them."""
        data: Any = getattr(self.trainer, "datamodule", None)
        records = data.records("train") if hasattr(data, "records") else []
        labels = np.array([record.label for record in records], dtype=np.int64)
        chosen = np.flatnonzero(labels >= 0)
        if len(chosen) > _BANK:
            chosen = chosen[np.arange(_BANK) * len(chosen) // _BANK]
        if len(np.unique(labels[chosen])) < 2:
            return None
        samples, metrics = data.samples("train"), FeatureMetrics(self.model.width).to(self.device)
        mine = chosen[self.global_rank :: self.trainer.world_size].tolist()
        with self.trainer.precision_plugin.forward_context():
            for start in range(0, len(mine), _CHUNK):
                batch = collate([samples[index] for index in mine[start : start + _CHUNK]])
                self._note(metrics, self.trainer.strategy.batch_to_device(batch, self.device))
        rows = _everywhere(metrics, lambda rows: ~np.isin(rows["subject"], asked))
        return rows if len(np.unique(rows["target"])) > 1 else None

    def _add_subjects(self, subjects: Tensor) -> None:
        """Remember hashes of subjects."""
        self.subjects = torch.unique(torch.cat([self.subjects, subjects]))

    def _note(self, metrics: FeatureMetrics, batch: Batch) -> Tensor:
        """Put the features of a batch into metrics."""
        features: Tensor = self.model.encode(batch["image"])
        target = batch.get("label", torch.full_like(batch["subject"], -1))
        keys = torch.tensor([stable_hash(name) for name in batch["id"]], device=features.device)
        metrics.update(features, target, scan=keys, subject=batch["subject"])
        return features


def _everywhere(metrics: FeatureMetrics, wanted: Callable[[Rows], NDArray[np.bool_]]) -> Rows:
    """The wanted rows of all processes."""
    with metrics.sync_context():
        rows = metrics.rows()
    kept = wanted(rows)
    return {name: values[kept] for name, values in rows.items()}
