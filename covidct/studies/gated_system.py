"""``train_gated_system``: the whole gated ensemble, each expert by its own recipe on the subjects of its side.

"DIP Covid-19 Course Practicum" (Tongji University), section 3.3.6 and figure 14: "We use Gate to divide the data into
two categories according to high contrast and low contrast, and input them to the two models for training. The two
models are trained separately, and the prediction is divided into two models according to the contrast."
"""

from __future__ import annotations

import copy
import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from covidct import __version__
from covidct.atomic import atomic_path
from covidct.errors import UsageError
from covidct.functional import fit_fusion_weights
from covidct.studies.runs import describe_cohort, describe_options, digest_of, digest_of_weights
from covidct.studies.training import TRAINER, own_random_state, predict_cases, require_one_device
from covidct.tasks import ClassificationTask, join_experts, load_task, save_task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from covidct.datamodules import BaseDataModule
    from covidct.functional import ContrastSplit
    from covidct.functional.contrast import Side
    from covidct.tasks import GatedEnsembleTask

__all__ = ("Expert", "GatedSystem", "train_gated_system")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Expert:
    """A classifier that is to be trained on one side of the gate.

    Attributes:
        task: with its recipe, untrained, and it stays so: a copy of it is trained, whose weights are drawn from the
            seed of the training.
        epochs: of its training.
        monitor: value of the validation part whose least value tells the epoch that is kept.
    """

    task: ClassificationTask
    epochs: int = 30
    monitor: str = "val_loss"


@dataclass(frozen=True, slots=True)
class GatedSystem:
    """A trained ensemble.

    Attributes:
        task: the ensemble.
        split: the line between the sides, and how many training subjects are on either.
        checkpoints: side to the experts' own checkpoints.
        weights: side to the experts' weights in the fusion.
    """

    task: GatedEnsembleTask
    split: ContrastSplit
    checkpoints: Mapping[Side, tuple[Path, ...]]
    weights: Mapping[Side, tuple[float, ...]]


def train_gated_system(
    data: BaseDataModule,
    *,
    low: Sequence[Expert],
    high: Sequence[Expert],
    out: Path,
    seed: int = 0,
    fusion: Literal["mean", "vote"] = "mean",
    trainer_options: Mapping[str, Any] | None = None,
    on_expert: Callable[[str], None] | None = None,
) -> GatedSystem:
    """Train the experts of both sides, weigh them on validation subjects, and join them.

    Each expert sees the training subjects of its side alone; the epoch with the best validation of that side is kept,
    the last one where the side has no validation subjects. Several experts of a side are weighted by
    :func:`covidct.functional.fit_fusion_weights` on its validation subjects; test subjects take no part in anything. A
    finished expert is kept in ``out/experts`` under the digest of everything that determines it, and taken over when
    the same command is started again. Writes ``out/ensemble.ckpt``.

    Args:
        data: measures contrast (``contrast="rms"`` or ``"spread"``), both sides in it.
        low: experts for low contrast, at least one.
        high: experts for high contrast.
        out: folder of the ensemble.
        seed: of the weights and of the training of the first expert of each side; each further one has the next, so
            that experts of one recipe differ.
        fusion: how the experts of a side decide together, see :func:`covidct.functional.fuse_probabilities`.
        trainer_options: further arguments of ``pytorch_lightning.Trainer`` (``accelerator``, ``precision``), on one
            device, since the experts are trained one after the other in this process.
        on_expert: called with the name of each expert when it is done.

    Returns:
        The ensemble in evaluation mode, with the line between the sides and the experts' checkpoints and weights.

    Raises:
        UsageError: when the data module measures no contrast or takes one side only, a side has no training subjects,
            experts are absent or do not fit together, or the trainer shall have several devices.
    """
    if not low or not high:
        raise UsageError("The gate needs at least one expert for low and one for high contrast.")
    if data.preprocessing.contrast == "none" or data.contrast_side is not None:
        raise UsageError("The gate needs both sides and their contrast: set contrast='rms' and contrast_side=null.")
    require_one_device(trainer_options or {})
    data.prepare_data()
    data.setup("fit")
    split = data.contrast_split
    if split is None:
        raise UsageError("There are no training subjects, from whose contrasts the gate's line comes.")
    experts: dict[Side, Sequence[Expert]] = {"low": low, "high": high}
    cohort = describe_cohort(data)
    checkpoints: dict[Side, tuple[Path, ...]] = {}
    weights: dict[Side, tuple[float, ...]] = {}
    for side, members in experts.items():
        mine = data.on_side(side)
        paths = []
        for number, expert in enumerate(members):
            name = f"{side}-{number}"
            with own_random_state():
                paths.append(_train(expert, mine, out / "experts", name, cohort, seed + number, trainer_options or {}))
            if on_expert is not None:
                on_expert(name)
        checkpoints[side] = tuple(paths)
        with own_random_state():
            weights[side] = _weigh(paths, mine, trainer_options or {})
    task = join_experts(
        low=checkpoints["low"],
        high=checkpoints["high"],
        split=split,
        low_weights=weights["low"],
        high_weights=weights["high"],
        fusion=fusion,
    )
    save_task(task, out / "ensemble.ckpt")
    return GatedSystem(task, split, checkpoints, weights)


def _train(
    expert: Expert,
    data: BaseDataModule,
    folder: Path,
    name: str,
    cohort: Mapping[str, Any],
    seed: int,
    trainer_options: Mapping[str, Any],
) -> Path:
    """The checkpoint of a trained expert, made unless it is there."""
    task = copy.deepcopy(expert.task)  # one expert may stand on both sides, and a task begins afresh but once
    options = {**TRAINER, **trainer_options, "max_epochs": expert.epochs, "enable_checkpointing": True}
    configuration = {
        "covidct": __version__,
        "task": describe_options(type(task)),
        "options": describe_options(dict(task.hparams)),
        "weights": digest_of_weights(task.hparams),
        "callables": [_describe(task._optimizer), _describe(task._lr_scheduler)],
        "trainer": describe_options(options),
        "monitor": expert.monitor,
        "cohort": cohort,
        "side": name,
        "seed": seed,
    }
    digest = digest_of(configuration)[:12]
    path = folder / f"{name}-{digest}.ckpt"
    if path.is_file():
        _log.info("%s is there already", name)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(seed, workers=True, verbose=False)
    task.model = task.build_model()
    kept = folder / f"{name}-{digest}.epochs"
    shutil.rmtree(kept, ignore_errors=True)  # of a training that was interrupted
    best = ModelCheckpoint(dirpath=kept, monitor=expert.monitor if data.records("val") else None)
    trainer = pl.Trainer(callbacks=[best], **options)
    trainer.fit(task, datamodule=data)
    if trainer.interrupted:
        raise KeyboardInterrupt
    with atomic_path(path) as temporary:
        if best.best_model_path:
            shutil.copyfile(best.best_model_path, temporary)
        else:
            trainer.save_checkpoint(temporary, weights_only=True)
    shutil.rmtree(kept, ignore_errors=True)
    return path


def _describe(make: Callable[..., Any] | None) -> Any:  # noqa: ANN401  (JSON data)
    """What makes an optimizer or a scheduler; one without a name is another in each process and trains again."""
    try:
        return describe_options(make)
    except UsageError:
        return repr(make)


def _weigh(checkpoints: Sequence[Path], data: BaseDataModule, trainer_options: Mapping[str, Any]) -> tuple[float, ...]:
    """Fusion weights of the experts of a side, from its validation subjects; equal ones without any."""
    if len(checkpoints) < 2 or not data.records("val"):
        return (1 / len(checkpoints),) * len(checkpoints)
    found = []
    for path in checkpoints:
        task = cast("ClassificationTask", load_task(path))  # as it was trained above
        found.append(predict_cases(task, data.val_dataloader(), data.class_names, {**TRAINER, **trainer_options}))
    first = found[0]
    prob = np.stack([one.ordered(first, what="an expert") for one in found])
    return tuple(fit_fusion_weights(prob, first.label, subject=first.group).tolist())
