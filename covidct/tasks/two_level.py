"""``TwoLevelTask``: slices and cases in one training, the second level on out-of-fold outputs of the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable

from covidct.errors import UsageError
from covidct.layers import Attention, evaluation
from covidct.losses import FocalLoss
from covidct.models import TwoLevelClassifier
from covidct.models.stored_network import network_arguments
from covidct.tasks.classification import ClassificationTask
from covidct.tasks.cosine import cosine_to_zero
from covidct.tasks.pseudo_labelling import pseudo_label_round, round_epochs
from covidct.tasks.slice_level import (
    balanced_weights,
    check_settings,
    check_slice_labels,
    count_labels,
    real_slices,
    require_labels,
    slice_losses,
)
from covidct.tasks.subject_folds import deal_folds, folds_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from covidct.sample import Batch, Kind

__all__ = ("TwoLevelTask",)

_LEARNING_RATE = 1e-4
_LEVEL2_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-2
_REPORT, _FOLDS = "covidct_pseudo_labels", "covidct_subject_folds"  # keys of a checkpoint
_SLICE_SCORES = ("accuracy", "auroc", "f1_macro")


class TwoLevelTask(ClassificationTask):
    """Diagnose a CT scan from the class probabilities of its slices, both learned in one training.

    The classifier of low-contrast cases in the gated dual-contrast ensemble (the practicum's report, "document",
    section 3.3.2); "recommendation" marks what it leaves open.

    Input: ``image`` (B, C, D, H, W) in [0, 1], every slice of the scan, and ``slice_mask``; in training also
    ``slice_label`` (B, D), -1 unknown.

    Level 1 learns from the slices with a known ``slice_label``: of an infected case its class where the slice shows
    lesions and normal where it does not. Scans whose slices are all unknown teach level 2 alone, so that cohorts with
    slice labels and cohorts with case labels mix.

    Level 2 must not learn from probabilities that level 1 gives of its own training slices, which are surer than those
    of new subjects will be. So there are ``folds`` further networks of the form of level 1: the one of fold k learns
    from the slices of all subjects but those of fold k, and gives level 2 the probabilities of those. The training
    subjects of the data module are dealt out evenly at the start of a fresh training, those with labelled slices and
    those of each class too (:func:`covidct.tasks.subject_folds.deal_folds`), and the checkpoint keeps their hashes with
    their folds; of other subjects, and of plain loaders, the fold is the hash modulo ``folds``. Level 1 itself learns
    from all of them, and feeds level 2 in validation, test and use.

    All networks learn at the same time, so that every checkpoint is a whole classifier and the scores of every epoch
    mean what they say. After ``level1_epochs`` level 1 and its folds stay as they are, and level 2 alone goes on. Level
    2 sees the probabilities of augmented scans, found anew in each step. A step costs ``folds`` training passes of the
    trunk (each labelled slice is in level 1 and in all folds but one) over ``level1_slices`` slices of each scan, and
    one inference pass over all its slices.

    Training: cross-entropy of both levels, or focal loss (document, section 3.3.3); a case's slices weigh as much as
    another's, however many it has. AdamW with learning rate 1e-4 for level 1 and 1e-3 for level 2, which fall to zero
    as a cosine, level 1's within ``level1_epochs``, 30, and level 2's within all, 40; 4 scans per batch (all
    recommendation). Epochs and batch size belong to the trainer and the data module: see
    ``examples/configs/two_level.yaml``. ``train_loss`` and ``val_loss`` are those of level 2; ``train_level1_loss``
    is the mean over level 1 and its folds. Where validation or test scans have slice labels, level 1 is scored on them
    as ``<stage>_slice_accuracy``, ``_slice_auroc`` and ``_slice_f1_macro``.

    Memory: weights and optimizer take ``folds`` + 1 times those of level 1 (ResNet-50: 94 MB of weights each, 376 MB
    in the checkpoint, three times as much with AdamW's moments), activations in training those of ``folds`` passes.

    Pseudo-labels (Lee 2013) are an option: with ``pseudo_rounds`` n, ``level1_epochs`` is parted into n + 1 stages, and
    at the beginning of each but the first, every network of level 1 looks at the unlabelled slices of the training
    subjects that it may learn from. Its bars, one per class, follow from ``pseudo_threshold`` and ``pseudo_quota``
    (:func:`covidct.functional.select_pseudo_labels`); from then on slices that reach them are trained on with the class
    that the network of the moment gives them (Lee recalculates labels with every step too), provided that it is the
    case's class or normal. A network labels for itself alone, so nothing passes from one fold to another.

    Attributes:
        pseudo_bar: (folds + 1, C) float32 buffer, least probability of a pseudo-label; 2, out of reach, at first.
        pseudo_label_report: what each round took and how right it is, kept in the checkpoint; see
            :func:`covidct.tasks.pseudo_labelling.pseudo_label_round`.

    Args:
        num_classes: outputs; 3, normal, CAP and COVID-19 (document).
        backbone: of level 1; ``"resnet50"`` (recommendation).
        attention: ``"cbam"``, ``"eca"`` (document, section 3.3.4) or ``"se"`` in level 1, or None.
        positions: points of each class's profile along the body axis; 64 (recommendation).
        top_slices: how many of a class's largest probabilities level 2 sees the mean of; 5 (recommendation).
        hidden: width of level 2; 64 (recommendation).
        dropout: share of level 2's hidden units dropped in training; 0.3 (recommendation).
        folds: of the subjects, at least 2; 3 (recommendation).
        slice_size: pixels of the longer side of a slice in level 1; 224 (recommendation); None keeps it.
        slices_per_chunk: slices per pass without gradient, a matter of memory only.
        mean: of one or three channels, in [0, 1]; None is ImageNet's (recommendation).
        std: of one or three channels, above 0; None is ImageNet's (recommendation).
        weights: weights of the trunks of level 1, fetched at the start of a fresh training, as
            :meth:`covidct.models.Trunk.load_published` takes them; None is random initialisation.
        level1_epochs: epochs in which level 1 learns; 30 (recommendation).
        level1_slices: slices of each scan that level 1 learns from in a step, evenly spread over its labelled slices
            and others in each step; 16 (recommendation: with 4 scans 64 per step and network); None takes all.
        pseudo_rounds: rounds of pseudo-labelling, fewer than ``level1_epochs``; 0, none (recommendation).
        pseudo_threshold: least probability of a pseudo-label, in (0, 1]; 0.95 (recommendation).
        pseudo_quota: most slices of each class in a round, by which the bars rise; None: any number.
        learning_rate: of level 1, when ``optimizer`` is None.
        level2_learning_rate: of level 2, when ``optimizer`` is None.
        weight_decay: of AdamW, when ``optimizer`` is None.
        focal_gamma: gamma of the focal loss of both levels; 0 is cross-entropy; 2 where it is used (recommendation).
        class_weights: of level 2: None, ``"balanced"`` or a factor per class; see :class:`ClassificationTask`.
        slice_weights: of level 1, in the same way; ``"balanced"`` counts the labelled slices of the training part.
        optimizer: makes another optimizer of the parameters; None is the recipe above.
        lr_scheduler: makes a scheduler of the optimizer; None is the recipe above.

    Raises:
        UsageError: for a value out of range, or an ``optimizer`` beside the rates of the recipe.
    """

    inputs: ClassVar[tuple[str, ...]] = ("image", "slice_mask")
    kinds: ClassVar[tuple[Kind, ...]] = ("ct_volume",)
    optimizer_arguments: ClassVar[tuple[str, ...]] = ("learning_rate", "level2_learning_rate", "weight_decay")
    model: TwoLevelClassifier
    pseudo_bar: Tensor

    def __init__(
        self,
        *,
        num_classes: int = 3,
        backbone: str = "resnet50",
        attention: Attention | None = None,
        positions: int = 64,
        top_slices: int = 5,
        hidden: int = 64,
        dropout: float = 0.3,
        folds: int = 3,
        slice_size: int | None = 224,
        slices_per_chunk: int = 16,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        weights: str | None = None,
        level1_epochs: int = 30,
        level1_slices: int | None = 16,
        pseudo_rounds: int = 0,
        pseudo_threshold: float = 0.95,
        pseudo_quota: int | None = None,
        learning_rate: float = _LEARNING_RATE,
        level2_learning_rate: float = _LEVEL2_LEARNING_RATE,
        weight_decay: float = _WEIGHT_DECAY,
        focal_gamma: float = 0.0,
        class_weights: Literal["balanced"] | list[float] | None = None,
        slice_weights: Literal["balanced"] | list[float] | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        """Build the network."""
        check_settings(
            folds=folds,
            epochs=level1_epochs,
            slices=level1_slices,
            rounds=pseudo_rounds,
            threshold=pseudo_threshold,
            quota=pseudo_quota,
        )
        super().__init__(
            num_classes=num_classes,
            class_weights=class_weights,
            focal_gamma=focal_gamma,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
        )
        factors = [1.0] * num_classes if slice_weights in (None, "balanced") else slice_weights
        if not isinstance(factors, list) or len(factors) != num_classes:
            raise UsageError(
                f"slice_weights={slice_weights} does not fit num_classes={num_classes}: give one factor per class, "
                "'balanced' or null."
            )
        self.slice_loss = FocalLoss(focal_gamma, weight=factors)
        self.register_buffer("pseudo_bar", torch.full((folds + 1, num_classes), 2.0))
        self.pseudo_label_report: list[dict[str, Any]] = []
        self._dealt = torch.empty(2, 0, dtype=torch.int64)  # subjects and their folds
        self._seen: Tensor | None = None  # labelled slices per network in the first epoch of a fresh training

    def build_model(self) -> TwoLevelClassifier:
        """The network, with random weights."""
        return TwoLevelClassifier(**network_arguments(TwoLevelClassifier, self.hparams))

    def start_fresh(self) -> None:
        """Deal the subjects out to folds, look whether there are slice labels, and take balanced weights from them.

        Raises:
            UsageError: when no training scan has a slice label, or those of one subject alone; when balanced weights
                or pseudo-labels are asked for without a data module that knows the slice labels.
        """
        super().start_fresh()
        self._seen = torch.zeros(self.hparams["folds"] + 1, dtype=torch.int64, device=self.device)
        samples = self.training_samples()
        labels = None if samples is None else samples.slice_labels()
        if samples is not None:
            found = [torch.from_numpy(one) for one in labels or ()]
            subject, label = (torch.from_numpy(samples.identities[name]) for name in ("subject", "label"))
            known = torch.tensor([bool((one >= 0).any()) for one in found] or [False] * len(subject))
            self._dealt = deal_folds(subject, label, known=known, folds=self.hparams["folds"])
            fold = self.fold_of(subject)
            require_labels(count_labels(found, fold[: len(found)], self.hparams["folds"]))
            if self.hparams["slice_weights"] == "balanced":
                self.slice_loss.weight = balanced_weights(found, self.hparams["num_classes"]).to(self.device)
        elif self.hparams["slice_weights"] == "balanced" or self.hparams["pseudo_rounds"]:
            raise UsageError(
                "slice_weights='balanced' and pseudo_rounds look at the whole training part: give a data module of "
                "covidct, or set neither."
            )

    def training_samples(self) -> Any:  # noqa: ANN401  (tasks do not import data modules)
        """The training part without augmentation, where the data module is one of the library; else None."""
        data: Any = getattr(self.trainer, "datamodule", None)
        samples = data.samples("train") if hasattr(data, "records") else None
        return samples if hasattr(samples, "slice_labels") else None

    def fold_of(self, subject: Tensor) -> Tensor:
        """Folds of subjects, as they were dealt out when the training began.

        Args:
            subject: (N,) int64, hashes.

        Returns:
            (N,) int64, 0 to ``folds`` - 1.
        """
        self._dealt = self._dealt.to(subject.device)
        return folds_of(subject, self._dealt, folds=self.hparams["folds"])

    @property
    def trains_level1(self) -> bool:
        """Whether level 1 learns in the present epoch."""
        return self.current_epoch < int(self.hparams["level1_epochs"])

    def default_optimizer(self) -> torch.optim.AdamW:
        """AdamW, learning rates 1e-4 and 1e-3, weight decay 0.01: recommendation; the document is silent."""
        rates = (self.hparams["learning_rate"], self.hparams["level2_learning_rate"])
        groups = [{"params": part, "lr": rate} for part, rate in zip(self._parts(), rates, strict=True)]
        return torch.optim.AdamW(groups, weight_decay=self.hparams["weight_decay"])

    def default_lr_scheduler(self, optimizer: Optimizer) -> torch.optim.lr_scheduler.LambdaLR | None:
        """The rates fall to zero as a cosine, level 1's within its epochs; constant when no number of them is set."""
        own = self._optimizer is None
        return cosine_to_zero(
            optimizer, epochs=self.trainer.max_epochs, at_most=(self.hparams["level1_epochs"], None) if own else ()
        )

    def on_train_epoch_start(self) -> None:
        """Make a round of pseudo-labelling where a stage begins, and log what level 1 takes and how right that is."""
        super().on_train_epoch_start()
        made = {report["epoch"] for report in self.pseudo_label_report}  # one begun before an interruption is made
        if self.current_epoch not in round_epochs(self.hparams["level1_epochs"], self.hparams["pseudo_rounds"]) - made:
            return
        report = pseudo_label_round(self)
        self.pseudo_label_report.append(report)
        right, passed = (sum(report[name].values()) for name in ("right", "passed"))
        taken = {f"pseudo_labels_{name}": float(count) for name, count in report["taken"][0].items()}
        self.log_dict({**taken, "pseudo_labels_right": right / passed if passed else torch.nan})

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leave level 1 as it is once its epochs are over: without a gradient no optimizer moves it."""
        if not self.trains_level1:
            for parameter in self._parts()[0]:
                parameter.grad = None

    def on_train_epoch_end(self) -> None:
        """Log the scores of the epoch; a training of plain loaders shows after its first one whether it had labels."""
        super().on_train_epoch_end()
        seen, self._seen = self._seen, None
        share = self.trainer.limit_train_batches  # a whole number, as of fast_dev_run, is a number of batches
        if seen is not None and isinstance(share, float) and share == 1:
            require_labels(self.trainer.strategy.reduce(seen, reduce_op="sum"))

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Probabilities of a batch and of its slices.

        Returns:
            What :meth:`ClassificationTask.predict_step` gives, and ``slice_scores`` (B, D, C) float32: level 1's
            probabilities, NaN on padding.
        """
        self.check_batch(batch, label=False)
        output = self(batch)
        scores, real = output["slice_prob"], batch.get("slice_mask")
        scores = scores if real is None else scores.masked_fill(~real[..., None], torch.nan)
        return {**self._prediction(batch, output["logits"]), "slice_scores": scores}

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the epoch."""
        super().on_validation_epoch_end()
        self._log_slices("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the epoch."""
        super().on_test_epoch_end()
        self._log_slices("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the folds of the subjects and the reports of pseudo-labelling."""
        super().on_save_checkpoint(checkpoint)
        if self._dealt.numel():
            checkpoint[_FOLDS] = self._dealt.cpu()
        if self.pseudo_label_report:
            checkpoint[_REPORT] = self.pseudo_label_report

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the record, the folds of the subjects and the reports of pseudo-labelling.

        Checkpoints from before subjects were dealt out have hashes modulo the number of folds.
        """
        super().on_load_checkpoint(checkpoint)
        self._dealt = checkpoint.get(_FOLDS, self._dealt).clone()  # not mapped from the file
        self.pseudo_label_report = list(checkpoint.get(_REPORT, []))

    def _step(self, batch: Batch, stage: str) -> Tensor:
        """Loss of a batch; see :class:`BaseTask`."""
        if stage != "train":
            return super()._step(batch, stage)
        self.check_batch(batch)
        check_slice_labels(batch, self.hparams["num_classes"])
        fold, real = self.fold_of(batch["subject"]), batch.get("slice_mask")
        with torch.no_grad(), evaluation(self.model.level1_folds):
            prob = self.model.slice_probabilities(batch["image"], real, fold=fold)
        logits = self.model.case_logits(prob, real)
        loss = self.loss(logits, batch["label"])
        self._log_loss(stage, loss.detach(), len(logits))
        prob = self.probabilities(logits.detach())
        self._metrics(stage).update(prob, batch["label"], scan=batch["scan"], subject=batch["subject"])
        if self.trains_level1:
            loss = loss + self._level1_loss(batch, fold)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # a process waits for gradients of every parameter, also of a network that saw no slice of this batch
            loss = loss + 0 * torch.stack([parameter.sum() for parameter in self._parameters_to_train()]).sum()
        return loss

    def _level1_loss(self, batch: Batch, fold: Tensor) -> Tensor:
        """Sum of the losses of level 1 and its folds."""
        losses, counts = slice_losses(
            self.model,
            batch,
            fold=fold,
            loss=self.slice_loss,
            most=self.hparams["level1_slices"],
            step=self.global_step,
            bar=self.pseudo_bar,
            class_names=self.class_names,
        )
        if self._seen is not None:
            self._seen += counts
        self.log("train_level1_loss", losses.detach().mean(), on_epoch=True, batch_size=len(fold))
        return losses.sum()

    def _observe(self, output: Any, batch: Batch, stage: str) -> None:  # noqa: ANN401  (what the network returns)
        """Collect what level 1 says of slices with a known class."""
        if "slice_label" not in batch:
            return
        label = batch["slice_label"]
        volume, place = (real_slices(batch) & (label >= 0)).nonzero(as_tuple=True)
        self._metrics(f"{stage}_slice").update(
            output["slice_prob"][volume, place],
            label[volume, place],
            scan=batch["scan"][volume] + place,  # hashes: no two scans are nearer than their slices are many
            subject=batch["subject"][volume],
        )

    def _log_slices(self, stage: str) -> None:
        """Log the scores of level 1, where any slice had a label."""
        scores = self._metrics(f"{stage}_slice").compute()
        known = {name: scores[name] for name in _SLICE_SCORES if not scores[name].isnan()}
        self.log_dict({f"{stage}_slice_{name}": value for name, value in known.items()}, on_epoch=True)
        setattr(self, f"{stage}_slice_metrics", None)

    def _parts(self) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
        """Parameters of level 1 with its folds, and of level 2."""
        second = list(self.model.level2.parameters())
        known = set(second)
        return [one for one in self._parameters_to_train() if one not in known], second
