"""``GatedEnsembleTask``: a contrast gate with an expert, or several, for either side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.errors import UsageError
from covidct.metrics import CaseMetrics
from covidct.models import GatedEnsemble
from covidct.tasks.classification import ClassificationTask
from covidct.tasks.cosine import cosine_to_zero

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from covidct.preprocessing import Preprocessing
    from covidct.sample import Batch, Kind

__all__ = ("GatedEnsembleTask",)

_LEARNING_RATE = 1e-4
_WEIGHT_DECAY = 1e-2
_SIDES = ("low", "high")


class GatedEnsembleTask(ClassificationTask):
    """Diagnose a CT scan by the experts for its contrast.

    The practicum's report ("DIP Covid-19 Course Practicum", section 3.3.6; "document" below). As there, experts are
    trained separately, each by its own task and recipe on the subjects of its side, and then joined:
    :func:`covidct.tasks.join_experts`, or in one go ``covidct ensemble``. ``fit`` trains them, or trains them further,
    side by side with one recipe; no gradient of a scan reaches the experts of the other side, nor through the fusion
    from one expert to another, so that this is a separate training too, by a common optimizer.

    The threshold of the gate comes from the training subjects of the data module (``contrast: rms``), at the start of a
    fresh training, and is kept in the checkpoint. Contrast is measured before enhancement.

    Input: what the experts take, and ``contrast`` (B,). Logs beside the scores of all scans those of each side as
    ``<stage>_low_<score>`` and ``<stage>_high_<score>``, and ``<stage>_high_share``, the share of scans of high
    contrast, in validation and test.

    Args:
        low: experts for low contrast, each ``{"name": ..., "arguments": {...}}``, a classifier of
            :mod:`covidct.models` and its arguments; None is the two-level classifier (document).
        high: experts for high contrast; None is COVNet (document, appendix A.2).
        num_classes: outputs; 3, normal, CAP and COVID-19 (document).
        fusion: how the experts of a side decide together, ``"mean"`` (recommendation; the document fuses decisions and
            does not say how) or ``"vote"``.
        threshold: of the contrast; None: found on the training subjects (recommendation: Otsu's).
        kind: what the experts see: ``"ct_volume"`` or ``"ct_slice"``.
        learning_rate: of AdamW, when ``optimizer`` is None; 1e-4, falling to zero as a cosine (recommendation).
        weight_decay: of AdamW, when ``optimizer`` is None; 0.01 (recommendation; torch's default).
        focal_gamma: gamma of the focal loss (document, section 3.3.3); 0 is cross-entropy.
        class_weights: None, ``"balanced"`` or a factor per class; see :class:`ClassificationTask`.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None is the recipe above.

    Raises:
        UsageError: for an expert that cannot be one, a value out of range, or an ``optimizer`` beside a
            ``learning_rate`` or ``weight_decay``.
    """

    inputs: tuple[str, ...]  # type: ignore[misc]  # as the experts need
    kinds: tuple[Kind, ...]  # type: ignore[misc]
    monitor: ClassVar[tuple[str, Literal["min", "max"]] | None] = ("val_loss", "min")  # known without some class, too
    model: GatedEnsemble
    paper: ClassVar[dict[str, list[dict[str, Any]]]] = {
        "low": [{"name": "TwoLevelClassifier", "arguments": {}}],
        "high": [{"name": "COVNet", "arguments": {}}],
    }

    def __init__(
        self,
        *,
        low: list[dict[str, Any]] | None = None,
        high: list[dict[str, Any]] | None = None,
        num_classes: int = 3,
        fusion: Literal["mean", "vote"] = "mean",
        threshold: float | None = None,
        kind: Literal["ct_volume", "ct_slice"] = "ct_volume",
        learning_rate: float = _LEARNING_RATE,
        weight_decay: float = _WEIGHT_DECAY,
        focal_gamma: float = 0.0,
        class_weights: Literal["balanced"] | list[float] | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the experts."""
        if kind not in ("ct_volume", "ct_slice"):
            raise UsageError(f"kind={kind!r} is unknown: use 'ct_volume' or 'ct_slice'.")
        super().__init__(
            num_classes=num_classes,
            class_weights=class_weights,
            focal_gamma=focal_gamma,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
        )
        self.kinds = (kind,)
        self.inputs = self.model.inputs

    def build_model(self) -> GatedEnsemble:
        """The experts, with random weights and without a threshold."""
        return GatedEnsemble(
            low=self.hparams["low"] or self.paper["low"],
            high=self.hparams["high"] or self.paper["high"],
            num_classes=self.hparams["num_classes"],
            fusion=self.hparams["fusion"],
            threshold=self.hparams["threshold"],
        )

    def start_fresh(self) -> None:
        """Take the gate's threshold from the training subjects, unless it is known.

        Raises:
            UsageError: when the data module measures no contrast.
        """
        super().start_fresh()
        if bool(self.model.threshold.isfinite()):
            return
        split = getattr(getattr(self.trainer, "datamodule", None), "contrast_split", None)
        if split is None:
            raise UsageError(
                "The gate takes its threshold from a data module that measures the contrast of training subjects: set "
                "contrast='rms' in its arguments, or the buffer 'threshold' of the network."
            )
        self.model.threshold.fill_(split.threshold)

    def require_preprocessing(self, asked: Preprocessing) -> None:
        """Refuse a data module without contrast, and one that prepares scans otherwise than the experts saw them.

        Raises:
            UsageError: says what to set, or names every field that differs.
        """
        if asked.contrast == "none":
            raise UsageError("The gate needs the contrast of each scan: set contrast='rms' in the data module.")
        super().require_preprocessing(asked)

    def default_optimizer(self) -> torch.optim.AdamW:
        """AdamW, learning rate 1e-4, weight decay 0.01 (recommendation; the document is silent)."""
        return torch.optim.AdamW(
            self._parameters_to_train(), lr=self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"]
        )

    def default_lr_scheduler(self, optimizer: Optimizer) -> Any:  # noqa: ANN401
        """A cosine to zero over the epochs of the trainer (recommendation); None beside another optimizer."""
        return None if self._optimizer is not None else cosine_to_zero(optimizer, epochs=self.trainer.max_epochs)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Probabilities of a batch, and the side of each scan.

        Returns:
            What :meth:`ClassificationTask.predict_step` gives, and ``high`` (B,) bool, True for high contrast.
        """
        self.check_batch(batch, label=False)
        output = self(batch)
        return {**self._prediction(batch, output["logits"]), "high": output["high"]}

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all scans and of each side."""
        super().on_validation_epoch_end()
        self._log_sides("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of all scans and of each side."""
        super().on_test_epoch_end()
        self._log_sides("test")

    def _loss(self, output: dict[str, Any], batch: Batch) -> Tensor:
        """Mean over the scans of the mean loss of the experts of their side, each for itself."""
        total: Tensor = output["logits"].new_zeros(())
        for rows, logits in output["members"]:
            losses = torch.stack([self.loss(one, batch["label"][rows]) for one in logits])
            total = total + losses.mean() * (len(rows) / len(batch["label"]))
        if self.training and len(output["members"]) < len(_SIDES):
            # other processes may have scans of the absent side, and wait for the gradients of its experts
            absent = self.model.low if bool(output["high"][0]) else self.model.high
            total = total + sum(0 * parameter.sum() for parameter in absent.parameters() if parameter.requires_grad)
        return total

    def _observe(self, output: dict[str, Any], batch: Batch, stage: str) -> None:
        """Collect the predictions of each side in validation and test."""
        if stage == "train":
            return
        prob, cases = self.probabilities(output["logits"].detach()), self._cases(batch)
        for side, mine in zip(_SIDES, (~output["high"], output["high"]), strict=True):
            self._side_metrics(stage, side).update(
                prob[mine], batch["label"][mine], scan=cases[mine], subject=batch["subject"][mine]
            )

    def _side_metrics(self, stage: str, side: str) -> CaseMetrics:
        """The metrics of a side, made anew each epoch."""
        name = f"{stage}_{side}_metrics"
        found: CaseMetrics | None = getattr(self, name, None)
        if found is None:
            found = self._new_metrics(stage).to(self.device)
            setattr(self, name, found)
        return found

    def _log_sides(self, stage: str) -> None:
        """Log and drop the scores of both sides; every process has the same keys."""
        counts = []
        for side in _SIDES:
            metrics = self._side_metrics(stage, side)
            with metrics.sync_context():
                counts.append(len(metrics.cases().target))
            scores = metrics.compute()
            self.log_dict({f"{stage}_{side}_{name}": value for name, value in scores.items()}, on_epoch=True)
            setattr(self, f"{stage}_{side}_metrics", None)
        share = counts[1] / sum(counts) if sum(counts) else math.nan
        self.log(f"{stage}_high_share", torch.tensor(share, dtype=torch.float32, device=self.device), on_epoch=True)
