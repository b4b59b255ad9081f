"""``BaseTask``: what every LightningModule of the library shares."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

import covidct
from covidct.errors import BatchError, CheckpointError, UsageError
from covidct.preprocessing import Preprocessing
from covidct.sample import check_batch
from covidct.tasks.pretrained_subjects import require_unseen
from covidct.weights import RECORD_KEY, weights_path

if TYPE_CHECKING:
    import os

    from pytorch_lightning.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torchmetrics import Metric

    from covidct.sample import Batch, Kind

__all__ = ("BaseTask", "batch_weight")

_CALLABLES = ("optimizer", "lr_scheduler")
_STEPWISE = (torch.optim.lr_scheduler.OneCycleLR, torch.optim.lr_scheduler.CyclicLR)  # made for a change every batch


class BaseTask(pl.LightningModule, ABC):
    """A network with its published recipe, its pre-processing record and its checkpoints.

    Hyper-parameters are plain data, saved in the checkpoint, so that it loads with ``weights_only=True``; the callables
    ``optimizer`` and ``lr_scheduler`` are left out. A checkpoint also records the task, the classes, the version of
    covidct and the whole pre-processing, which is taken from the data module at the first run and is then binding. This
    frame is of our own; where its recipe is published, and what of it, each task says itself.

    Attributes:
        inputs: batch keys that the network takes, in the order of its arguments.
        kinds: columns of :mod:`covidct.sample` that the batches may follow; the first, where no data module tells.
        target: batch key that the loss needs beside the inputs.
        monitor: logged score that tells the best weights, and whether more or less of it is better; None where none
            does. :class:`covidct.callbacks.Checkpoints` goes by it.
        optimizer_arguments: arguments of :meth:`default_optimizer`, as far as a task has them; not to be set beside
            another optimizer.
        model: the network.
        preprocessing: what the network was trained on; None until a data module or a checkpoint tells.

    Args:
        optimizer: makes an optimizer of the parameters; None is the published recipe.
        lr_scheduler: makes a scheduler of the optimizer; None is the published recipe.

    Raises:
        UsageError: for an ``optimizer`` beside arguments of the published one.
    """

    inputs: ClassVar[tuple[str, ...]]
    kinds: ClassVar[tuple[Kind, ...]]
    target: ClassVar[str] = "label"
    monitor: ClassVar[tuple[str, Literal["min", "max"]] | None] = None
    optimizer_arguments: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay")

    def __init__(
        self, *, optimizer: OptimizerCallable | None = None, lr_scheduler: LRSchedulerCallable | None = None
    ) -> None:
        """Save the arguments of the concrete task and build its network."""
        super().__init__()
        self.save_hyperparameters(ignore=[*_CALLABLES, *_not_arguments_of(type(self))])
        self._require_one_optimizer(optimizer)
        self._optimizer = optimizer
        self._lr_scheduler = lr_scheduler
        self._restored = False  # True once weights came from a checkpoint or a fresh training began
        self._batch_checked = False
        self.preprocessing: Preprocessing | None = None
        self.model = self.build_model()

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Build the network from ``self.hparams`` alone, with random weights."""

    @abstractmethod
    def default_optimizer(self) -> Optimizer:
        """The optimizer of the published recipe."""

    @abstractmethod
    def _step(self, batch: Batch, stage: str) -> Tensor:
        """Loss of a batch; logs it and feeds the metrics of ``stage`` (``"train"``, ``"val"`` or ``"test"``)."""

    @abstractmethod
    def _new_metrics(self, stage: str) -> Metric:
        """Empty metrics of a stage; ``compute`` gives scalars by name."""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, index = label."""

    @property
    def kind(self) -> Kind:
        """Which column of :mod:`covidct.sample` the batches follow: that of the pre-processing, else the first."""
        return self.kinds[0] if self.preprocessing is None else self.preprocessing.kind

    def default_lr_scheduler(self, optimizer: Optimizer) -> Any:  # noqa: ANN401  (torch has no common base)
        """The learning rate scheduler of the published recipe, for its ``optimizer``; None keeps the rate."""
        return None

    def start_fresh(self) -> None:
        """Fetch ``weights`` into the network; called once, at the start of a fresh training on every process.

        Raises:
            WeightsError: when they cannot be had or do not fit.
        """
        weights = self.hparams.get("weights")
        if weights is not None:
            self.load_weights(weights_path(weights))

    def load_weights(self, weights: str) -> None:
        """Take over the file or the named weights ``weights``: of the network's backbone, where a task says no more.

        Raises:
            WeightsError: when they cannot be had or do not fit.
        """
        network: Any = self.model  # every network of a task with ``weights`` has it
        network.load_backbone(weights)

    def forward(self, batch: Batch) -> Any:  # noqa: ANN401  (what the network returns)
        """Run the network on a ``batch`` of :mod:`covidct.sample`."""
        return self.model(*self.network_inputs(batch))

    def network_inputs(self, batch: Batch) -> tuple[Any, ...]:
        """What the network takes of a ``batch``, in the order of :attr:`inputs`; None for an absent ``slice_mask``.

        Raises:
            BatchError: when the batch lacks another key.
        """
        missing = [key for key in self.inputs if key not in batch and key != "slice_mask"]
        if missing:
            raise BatchError(f"The batch has no {missing[0]!r}; {type(self).__name__} needs {', '.join(self.inputs)}.")
        return tuple(batch.get(key) if key == "slice_mask" else batch[key] for key in self.inputs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a training batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a validation batch."""
        return self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a test batch."""
        return self._step(batch, "test")

    def on_train_epoch_end(self) -> None:
        """Log the scores of the epoch."""
        self._log_scores("train")

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the epoch."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the epoch."""
        self._log_scores("test")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig | OptimizerConfig:
        """The given optimizer and scheduler, or those of the published recipe."""
        optimizer = self._optimizer(self.parameters()) if self._optimizer else self.default_optimizer()
        scheduler = self._lr_scheduler(optimizer) if self._lr_scheduler else self.default_lr_scheduler(optimizer)
        if scheduler is None:
            return {"optimizer": optimizer}
        monitor = getattr(scheduler, "monitor", "val_loss")  # read for ReduceLROnPlateau only
        interval = "step" if isinstance(scheduler, _STEPWISE) else "epoch"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": monitor, "interval": interval},
        }

    def setup(self, stage: str) -> None:
        """Agree with the data module on the pre-processing.

        Raises:
            UsageError: when the data module's kind, pre-processing or classes are not the task's.
        """
        self._batch_checked = False
        asked = getattr(getattr(self.trainer, "datamodule", None), "preprocessing", None)
        if asked is not None:
            own = self.own_preprocessing(asked)
            self._require_kind(own)
            self._require_classes(own)
            self.require_preprocessing(asked)
            self.preprocessing = self.preprocessing or own

    def own_preprocessing(self, asked: Preprocessing) -> Preprocessing:
        """A data module's pre-processing as the task sees it.

        Args:
            asked: that of the data module.

        Returns:
            The same, unless a kind of task is free of a field.
        """
        return asked

    def require_preprocessing(self, asked: Preprocessing) -> None:
        """Refuse a data module that prepares scans otherwise than the network was trained.

        Args:
            asked: the data module's pre-processing.

        Raises:
            UsageError: names every field that differs.
        """
        if self.preprocessing is not None:
            self.preprocessing.require_same(self.own_preprocessing(asked), what="the data module")

    def on_fit_start(self) -> None:
        """Begin a fresh training; a resumed one has its weights by now, which Lightning does not yet know in ``setup``.

        Raises:
            UsageError: when weights were pre-trained on subjects of the validation or test part.
            WeightsError: when published weights are asked for and cannot be had.
        """
        if not self._restored:
            if self.hparams.get("weights") is not None:
                require_unseen(self.hparams["weights"], getattr(self.trainer, "datamodule", None))
            self.start_fresh()
            self._restored = True

    def check_batch(self, batch: Batch, *, label: bool = True) -> None:
        """Verify the first batch of a run against the contract.

        Args:
            batch: what the loader gives.
            label: whether the key :attr:`target` is needed.

        Raises:
            BatchError: names the key and the fault.
        """
        if self._batch_checked:
            return
        needed = [key for key in self.inputs if key != "slice_mask"] + [self.target] * label
        check_batch(batch, self.kind, needed)
        self._batch_checked = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record that :func:`covidct.tasks.load_task` and ``covidct triage`` read."""
        checkpoint[RECORD_KEY] = {
            "version": covidct.__version__,
            "task": type(self).__name__,
            "class_names": list(self.class_names),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the record.

        Raises:
            CheckpointError: when another task, or no task of covidct, wrote the checkpoint, or its record is damaged.
            UsageError: when the data module asks for another pre-processing.
        """
        record = checkpoint.get(RECORD_KEY, {})
        if record.get("task") != type(self).__name__:
            raise CheckpointError(
                f"The checkpoint belongs to {record.get('task', 'no task of covidct')}, not to {type(self).__name__}: "
                "use the task it was trained with."
            )
        self._restored = True
        kept = record.get("preprocessing", {})
        if kept is None:  # trained with plain loaders
            return
        stored = Preprocessing.from_dict(kept)
        self._require_classes(stored)
        asked, self.preprocessing = self.preprocessing, stored
        if asked is not None:
            self.require_preprocessing(asked)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors``, whose numbers a checkpoint would hold too.

        Args:
            folder: made when absent; files of these names are replaced.
        """
        from covidct.tasks.pretrained import save_pretrained

        save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], *, revision: str | None = None) -> Self:
        """Read what :meth:`save_pretrained` wrote.

        Args:
            source: a folder, or a name on the Hugging Face hub (``"owner/name"``), which needs ``huggingface_hub``.
            revision: branch, tag or commit on the hub; None: its main branch.

        Returns:
            The task in evaluation mode, on the CPU; of ``BaseTask`` and kinds of tasks whichever task it is.

        Raises:
            WeightsError: when there is nothing of that name, or files are missing, damaged or do not fit.
            CheckpointError: when it is another task, or what the folder tells of it is damaged.
        """
        from covidct.tasks.pretrained import load_pretrained

        task = load_pretrained(source, revision=revision)
        if not isinstance(task, cls):
            raise CheckpointError(f"{source} holds a {type(task).__name__}, not a {cls.__name__}: use that class.")
        return task

    def _require_one_optimizer(self, optimizer: OptimizerCallable | None) -> None:
        """Refuse arguments of the published optimizer beside another one, which would not see them."""
        usual = inspect.signature(type(self)).parameters
        names = [name for name in self.optimizer_arguments if name in usual]
        if optimizer is not None and any(self.hparams[name] != usual[name].default for name in names):
            raise UsageError(
                f"The published optimizer alone takes {' and '.join(names)} of the task, but another one is given: set "
                "them in the arguments of that one."
            )

    def _require_kind(self, preprocessing: Preprocessing) -> None:
        """Refuse samples of a shape that the network does not take."""
        if preprocessing.kind not in self.kinds:
            raise UsageError(
                f"{type(self).__name__} takes data of kind {' or '.join(self.kinds)}, the data module gives "
                f"{preprocessing.kind}: use a data module of that kind, or another task."
            )

    def _require_classes(self, preprocessing: Preprocessing) -> None:
        """Refuse a class list that the network has no outputs for."""
        count = self.hparams.get("num_classes", len(preprocessing.classes))
        if count != len(preprocessing.classes):
            raise UsageError(
                f"The network has {count} outputs, the data has the classes {', '.join(preprocessing.classes)}: set "
                f"num_classes={len(preprocessing.classes)} or merge the classes in the data module."
            )

    def _metrics(self, stage: str) -> Any:  # noqa: ANN401  (what the kind of task makes)
        """The metrics of a stage, made anew each epoch."""
        name = f"{stage}_metrics"
        found = getattr(self, name, None)
        if found is None:
            found = self._new_metrics(stage).to(self.device)
            setattr(self, name, found)
        return found

    def _log_scores(self, stage: str) -> None:
        """Log and drop the metrics of a stage; every process computes the same values under the same keys."""
        scores = self._metrics(stage).compute()
        self.log_dict({f"{stage}_{name}": value for name, value in scores.items()}, on_epoch=True)
        setattr(self, f"{stage}_metrics", None)

    def _log_loss(self, stage: str, loss: Tensor, size: int) -> None:
        """Log a loss under ``<stage>_loss``, the same key on every process."""
        training = stage == "train"
        self.log(
            f"{stage}_loss",
            loss,
            on_step=training,
            on_epoch=True,
            prog_bar=True,
            batch_size=batch_weight(size),
            sync_dist=not training,
        )

    def _parameters_to_train(self) -> list[torch.nn.Parameter]:
        """Parameters with a gradient, for :meth:`default_optimizer`."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def batch_weight(size: int) -> int:
    """What to give to ``log`` as the size of a batch, so that a mean over several processes is exact.

    Lightning divides by the mean number of samples per process, rounded down to a whole number.
    """
    distributed = torch.distributed
    return size * distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else size


def _not_arguments_of(task: type[BaseTask]) -> set[str]:
    """Arguments of the classes that a task is made of, but not its own: Lightning would save those too."""
    makers = [vars(part)["__init__"] for part in task.__mro__ if "__init__" in vars(part)]
    inherited = {name for make in makers for name in inspect.signature(make).parameters}
    return inherited - inspect.signature(task).parameters.keys()
