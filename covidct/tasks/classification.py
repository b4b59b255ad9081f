"""``ClassificationTask``: cross-entropy or focal loss, metrics over whole cases and predictions of every classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.errors import BatchError, UsageError
from covidct.labels import BINARY_CLASSES, CLASSES
from covidct.losses import focal_loss
from covidct.metrics import CaseMetrics
from covidct.sample import stable_hash
from covidct.tasks.base import BaseTask

if TYPE_CHECKING:
    from torch import Tensor

    from covidct.sample import Batch

__all__ = ("ClassificationTask",)


_PASSED_ON: tuple[Literal["id", "scan", "subject", "label"], ...] = ("id", "scan", "subject", "label")


class ClassificationTask(BaseTask):
    """Softmax over at least two classes, binary too.

    Logs ``<stage>_loss`` and at the end of each epoch every score of :class:`covidct.metrics.CaseMetrics` as
    ``<stage>_<score>`` (``val_auroc``, ``val_sensitivity_covid``): each scan, of slice classifiers each slice, counts
    once, over all processes. In training the scores are those of the weights of the moment.

    Attributes:
        cam_scale: (C,) float32 buffer, the value of each class's Grad-CAM that is drawn in full colour, found on
            training positives by :func:`covidct.explain.calibrate` or :class:`covidct.callbacks.GradCAMScale`. It
            belongs to the weights it was found with: each training step sets it back to 0, unknown.

    Args:
        num_classes: outputs of the network, at least 2.
        class_weights: factor of each class in the loss: None (all one), ``"balanced"`` (inversely proportional to the
            class's count in the training part of the data module, mean one over its samples), or a list, index = label.
            The loss is the mean of the weighted terms, not divided by their weights as ``torch.nn.CrossEntropyLoss``
            does, so that the factors act with one scan per batch too.
        focal_gamma: gamma of the focal loss (:class:`covidct.losses.FocalLoss`), at least 0; 0 is cross-entropy.
        optimizer: as in :class:`BaseTask`.
        lr_scheduler: as in :class:`BaseTask`.

    Raises:
        UsageError: when ``class_weights`` or ``focal_gamma`` does not fit.
    """

    class_weight: Tensor
    monitor: ClassVar[tuple[str, Literal["min", "max"]] | None] = ("val_auroc", "max")
    cam_scale: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        class_weights: Literal["balanced"] | list[float] | None = None,
        focal_gamma: float = 0.0,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network and the class weights."""
        if not _is_factor(focal_gamma):
            raise UsageError(f"focal_gamma={focal_gamma} is not usable: give a finite number of at least 0.")
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        self._focal_gamma = focal_gamma
        self._balanced = class_weights == "balanced"
        factors = [1.0] * num_classes if class_weights is None or self._balanced else class_weights
        if not isinstance(factors, list) or len(factors) != num_classes or not all(map(_is_factor, factors)):
            raise UsageError(
                f"class_weights={class_weights} does not fit num_classes={num_classes}: give one finite factor >= 0 "
                "per class, 'balanced' or null."
            )
        self.register_buffer("class_weight", torch.tensor(factors, dtype=torch.float32))
        self.register_buffer("cam_scale", torch.zeros(num_classes))

    def check_batch(self, batch: Batch, *, label: bool = True) -> None:
        """Verify the first batch of a run against the contract and its labels against the outputs.

        Args:
            batch: what the loader gives.
            label: whether the key ``label`` is needed.

        Raises:
            BatchError: names the key and the fault.
        """
        first = not self._batch_checked
        super().check_batch(batch, label=label)
        if first and label:
            low, high = (int(edge) for edge in batch["label"].aminmax())
            last = len(self.class_weight) - 1
            if low < 0 or high > last:
                self._batch_checked = False
                raise BatchError(
                    f"'label' spans [{low}, {high}], the network has the outputs 0 to {last}: set num_classes, "
                    "merge the classes, or leave out scans of unknown class (-1)."
                )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes: the pre-processing's, else the canonical ones for two or three classes."""
        if self.preprocessing is not None:
            return self.preprocessing.classes
        count = len(self.class_weight)
        known = {len(names): names for names in (BINARY_CLASSES, CLASSES)}
        return known.get(count, tuple(f"class_{index}" for index in range(count)))

    def start_fresh(self) -> None:
        """Take balanced class weights from the data module.

        Raises:
            UsageError: when it has none, or a class is absent from its training part.
        """
        super().start_fresh()
        if not self._balanced:
            return
        find = getattr(getattr(self.trainer, "datamodule", None), "class_weights", None)
        weights = None if find is None else find()
        if weights is None or weights.shape != self.class_weight.shape or not bool((weights > 0).all()):
            found = "none" if weights is None else weights.tolist()
            raise UsageError(
                "class_weights='balanced' needs a data module whose training part has every class, its weights are "
                f"{found}: give the factors as a list."
            )
        self.class_weight.copy_(weights)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Cross-entropy, or the focal loss, in float32.

        Args:
            logits: (B, C), any floating dtype.
            label: (B,) int64.

        Returns:
            () float32: mean over the batch of the terms times their class weight.
        """
        return focal_loss(logits.float(), label, gamma=self._focal_gamma, weight=self.class_weight)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Class probabilities, each row summing to one: softmax in float32.

        Args:
            logits: (B, C), any floating dtype.

        Returns:
            (B, C) float32.
        """
        return logits.float().softmax(1)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Probabilities of a batch.

        Returns:
            ``id`` list of str, ``scan`` and ``subject`` (B,) int64, ``logits`` and ``prob`` (B, C) float32, ``pred``
            (B,) int64, and ``label`` (B,) int64 where the batch has it.
        """
        self.check_batch(batch, label=False)
        return self._prediction(batch, self._logits(self(batch)))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Forget the scale of Grad-CAM: the weights are about to change."""
        self.cam_scale.zero_()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the record; checkpoints from before ``cam_scale`` have no scale."""
        super().on_load_checkpoint(checkpoint)
        checkpoint["state_dict"].setdefault("cam_scale", torch.zeros_like(self.cam_scale))

    def _step(self, batch: Batch, stage: str) -> Tensor:
        """Loss of a batch; see :class:`BaseTask`."""
        self.check_batch(batch)
        output = self(batch)
        logits = self._logits(output)
        loss = self._loss(output, batch)
        self._log_loss(stage, loss.detach(), len(logits))
        prob = self.probabilities(logits.detach())
        self._metrics(stage).update(prob, batch["label"], scan=self._cases(batch), subject=batch["subject"])
        self._observe(output, batch, stage)
        return loss

    def _loss(self, output: Any, batch: Batch) -> Tensor:  # noqa: ANN401  (what the network returns)
        """What a training minimises: :meth:`loss` of the logits."""
        return self.loss(self._logits(output), batch["label"])

    def _observe(self, output: Any, batch: Batch, stage: str) -> None:  # noqa: ANN401  (what the network returns)
        """What else a task notes of a batch; nothing here."""

    def _prediction(self, batch: Batch, logits: Tensor) -> dict[str, Any]:
        """What :meth:`predict_step` returns."""
        logits = logits.float()
        prob = self.probabilities(logits)
        known: dict[str, Any] = {key: batch[key] for key in _PASSED_ON if key in batch}
        return {**known, "logits": logits, "prob": prob, "pred": logits.argmax(1)}

    def _logits(self, output: Tensor | dict[str, Tensor]) -> Tensor:
        """The logits of a network that may know more."""
        return output["logits"] if isinstance(output, dict) else output

    def _cases(self, batch: Batch) -> Tensor:
        """Keys of what the scores count once: scans; of slices each for itself, since they share a scan."""
        if self.kind != "ct_slice":
            scans: Tensor = batch["scan"]
            return scans
        return torch.tensor([stable_hash(name) for name in batch["id"]], device=batch["scan"].device)

    def _new_metrics(self, stage: str) -> CaseMetrics:
        """Scores over cases; made anew each epoch, when the class names are known."""
        return CaseMetrics(self.class_names)


def _is_factor(value: object) -> bool:
    """Whether a value is a finite number of at least 0."""
    return isinstance(value, int | float) and 0 <= value < float("inf")
