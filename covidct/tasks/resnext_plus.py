"""``ResNeXtPlusTask``: the weakly supervised slice-attention classifier with its published recipe."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch.optim.lr_scheduler import CyclicLR

from covidct.errors import UsageError
from covidct.metrics import SliceMetrics
from covidct.models import ResNeXtPlus
from covidct.models.stored_network import network_arguments
from covidct.tasks.classification import ClassificationTask

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig
    from torch import Tensor
    from torch.optim import Optimizer

    from covidct.sample import Batch, Kind

__all__ = ("ResNeXtPlusTask",)

_LOGGER = logging.getLogger(__name__)
_LEAST_RATE = 1e-5
_GREATEST_RATE = 1e-4


class ResNeXtPlusTask(ClassificationTask):
    """Diagnose a CT scan and find its slices with findings, from volume labels alone.

    A. Mohammed et al., "Semi-supervised Network for Detection of COVID-19 in Chest CT Scans" (IEEE Access 2020).
    "Document" marks what it sets, "recommendation" what it leaves open.

    Input: ``image`` (B, C, D, H, W) in [0, 1], every slice of the scan at 256 x 256 pixels (document, section V.A),
    windowed to [-1200, 600] HU (recommendation, the window of the lung mask's reference code); ``lung_mask``;
    ``slice_mask``.

    Training: cross-entropy on softmax (eq. 20, whose softmax of the negative outputs is the same with the two classes
    swapped), Adam (document) with a rate that runs in triangles between 1e-5 and 1e-4 (document), up within 4 epochs
    (recommendation), 40 epochs (document), one volume per step (document), at most 50 random slices of it (document),
    ImageNet weights (document). Epochs, batch size, number of slices, oversampling and augmentation belong to the
    trainer and the data module: see ``examples/configs/resnext_plus.yaml``.

    Slice labels never enter training, validation or predictions. In the test stage, where a batch has ``slice_label``,
    the attention is scored against them and logged as ``test_slice_<score>`` (pooled) and
    ``test_slice_<score>_volume_mean``, see :func:`covidct.metrics.slice_report`; the last class is the one whose slices
    are looked for.

    Args:
        num_classes: outputs; 2, COVID-19 against the rest (document).
        backbone: ``"resnext50_32x4d"`` (recommendation; the document says "ResNeXt"), ``"resnet50"``, ``"resnet18"`` or
            ``"resnet10"``.
        variant: ``"proposed"``, ``"N-SCA"`` (no CBAM), ``"N-SLA"`` (no slice attention) or ``"N-MSCA"`` (neither mask
            nor CBAM): document, Table 2.
        slice_size: pixels of the longer side of a slice in the trunk; 224 (document, section V.D); None keeps it.
        pre_bn: CBAM before the first normalisation (see :class:`covidct.models.ResNeXtPlus`).
        hidden: width of a hidden layer before the output, or None.
        lstm_std: standard deviation of the LSTM's initial weights; 0.1 (document: variance 0.01).
        checkpointing: recompute activations in the backward pass, to fit smaller devices.
        weights: published weights of the backbone by name (``"IMAGENET1K_V1"``) or the path of a file, fetched at the
            start of a fresh training; None is random initialisation.
        learning_rate: lowest rate of the cycle, when ``optimizer`` and ``lr_scheduler`` are None.
        max_learning_rate: highest rate of the cycle.
        epochs_up: epochs in which the rate rises, and those in which it falls again.
        class_weights: None, ``"balanced"`` or a factor per class; see :class:`ClassificationTask`.
        optimizer: makes another optimizer of the parameters; its own rate is then kept. None is the recipe above.
        lr_scheduler: makes another scheduler of the optimizer, stepped once per epoch.

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` or ``lr_scheduler`` beside the rates of the recipe.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image", "lung_mask", "slice_mask")
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_volume",)
    model: ResNeXtPlus
    test_slice_metrics: SliceMetrics | None

    def __init__(
        self,
        *,
        num_classes: int = 2,
        backbone: Literal["resnext50_32x4d", "resnet50", "resnet18", "resnet10"] = "resnext50_32x4d",
        variant: Literal["proposed", "N-SCA", "N-SLA", "N-MSCA"] = "proposed",
        slice_size: int | None = 224,
        pre_bn: bool = False,
        hidden: int | None = None,
        lstm_std: float = 0.1,
        checkpointing: bool = False,
        weights: str | None = None,
        learning_rate: float = _LEAST_RATE,
        max_learning_rate: float = _GREATEST_RATE,
        epochs_up: float = 4,
        class_weights: Literal["balanced"] | list[float] | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        own = optimizer is None and lr_scheduler is None
        if not own and (learning_rate, max_learning_rate) != (_LEAST_RATE, _GREATEST_RATE):
            raise UsageError(
                "learning_rate and max_learning_rate belong to the published recipe, but another optimizer or "
                "scheduler is given: set them in the arguments of that one."
            )
        if not 0 <= learning_rate <= max_learning_rate < math.inf or not 0 < epochs_up < math.inf:
            raise UsageError(
                f"learning_rate={learning_rate}, max_learning_rate={max_learning_rate}, epochs_up={epochs_up}: give "
                "finite rates, the first not above the second, and a positive number of epochs."
            )
        super().__init__(
            num_classes=num_classes, class_weights=class_weights, optimizer=optimizer, lr_scheduler=lr_scheduler
        )
        self.test_slice_metrics = None
        if not self.model.uses_mask:
            self.inputs = ("image", "slice_mask")  # type: ignore[misc]  # this task's own, narrower than its class's

    def build_model(self) -> ResNeXtPlus:
        """The network, with random weights."""
        return ResNeXtPlus(**network_arguments(ResNeXtPlus, self.hparams))

    def default_optimizer(self) -> torch.optim.Adam:
        """Adam (document, section V.D)."""
        return torch.optim.Adam(self._parameters_to_train(), lr=self.hparams["learning_rate"])

    def default_lr_scheduler(self, optimizer: Optimizer) -> CyclicLR | None:
        """Triangles between the two rates (document); None beside another optimizer, which keeps its rate."""
        if self._optimizer is not None:
            return None
        return CyclicLR(
            optimizer,
            base_lr=self.hparams["learning_rate"],
            max_lr=self.hparams["max_learning_rate"],
            step_size_up=1,  # in steps; on_train_start knows how many an epoch has
            cycle_momentum=False,
        )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig | OptimizerConfig:
        """As :class:`BaseTask`; the published schedule goes on with every step of the optimizer."""
        config: Any = super().configure_optimizers()
        if self._lr_scheduler is None and "lr_scheduler" in config:
            config["lr_scheduler"]["interval"] = "step"
        return config  # type: ignore[no-any-return]

    def on_train_start(self) -> None:
        """Give the cycle its length."""
        super().on_train_start()
        # Not in configure_optimizers: asking for the number of batches there makes Lightning load the data before it
        # reads a checkpoint, and a resumed epoch would start from its beginning.
        scheduler = self.lr_schedulers()
        if self._lr_scheduler is None and isinstance(scheduler, CyclicLR):
            steps = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
            scheduler.total_size = 2 * max(1.0, self.hparams["epochs_up"] * steps)

    def network_inputs(self, batch: Batch) -> tuple[Any, ...]:
        """What the network takes of a batch; no mask for the variant without one."""
        mask = batch["lung_mask"] if self.model.uses_mask else None
        return batch["image"], mask, batch.get("slice_mask")

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Probabilities of a batch, and the attention of its slices.

        Returns:
            What :meth:`ClassificationTask.predict_step` gives, and ``attention`` (B, D) float32: the share of each
            slice, summing to one over a volume, NaN on padding; absent for the variant ``"N-SLA"``. A share is no
            probability of the slice.
        """
        self.check_batch(batch, label=False)
        output = self(batch)
        found = self._prediction(batch, output["logits"])
        if not self.model.uses_attention:
            return found
        real = batch.get("slice_mask")
        attention = output["attention"]
        return {**found, "attention": attention if real is None else attention.masked_fill(~real, torch.nan)}

    def slice_attention(self, batch: Batch) -> Tensor:
        """The attention of a batch.

        Args:
            batch: what :meth:`predict_step` takes.

        Returns:
            (B, D) float32, the ``attention`` of :meth:`predict_step`.

        Raises:
            UsageError: for the variant ``"N-SLA"``, which has none.
        """
        self.model.require_attention()
        attention: Tensor = self.predict_step(batch, 0)["attention"]
        return attention

    def on_test_start(self) -> None:
        """Prepare for slice scores, or say that there will be none."""
        super().on_test_start()
        if self.model.uses_attention:
            self.test_slice_metrics = SliceMetrics().to(self.device)
        else:
            _LOGGER.info("The variant %s has no slice attention, so there are no slice scores.", self.model.variant)

    def on_test_epoch_end(self) -> None:
        """Log the scores of the volumes, and those of their slices where they have labels."""
        super().on_test_epoch_end()
        if self.test_slice_metrics is not None:
            scores = self.test_slice_metrics.compute()
            self.log_dict({f"test_slice_{name}": value for name, value in scores.items()}, on_epoch=True)
            self.test_slice_metrics = None

    def _observe(self, output: dict[str, Tensor], batch: Batch, stage: str) -> None:
        """Collect attention and slice labels of a test batch; every process does, labels or not."""
        if stage != "test" or self.test_slice_metrics is None:
            return
        attention, last = output["attention"], len(self.class_weight) - 1
        label = batch.get("slice_label", torch.full(attention.shape, -1, device=attention.device))
        self.test_slice_metrics.update(
            attention,
            torch.where(label < 0, label, (label == last).long()),
            real=batch.get("slice_mask"),
            diagnosed=output["logits"].argmax(1) == last,
            scan=batch["scan"],
            subject=batch["subject"],
        )
