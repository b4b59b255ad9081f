"""One round of pseudo-labelling for :class:`covidct.tasks.TwoLevelTask`: which bars unlabelled slices must reach."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from covidct.functional import pseudo_labels_above, select_pseudo_labels
from covidct.labels import NEGATIVE_CLASSES
from covidct.layers import evaluation
from covidct.metrics.gathering import CollectedCases
from covidct.sample import collate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from covidct.functional import PseudoLabels
    from covidct.tasks.two_level import TwoLevelTask

__all__ = ("allowed_classes", "pseudo_label_round", "round_epochs")

_LOGGER = logging.getLogger(__name__)
_MOST_SLICES = 2**20  # of a scan: tells the slices of all scans apart


def round_epochs(epochs: int, rounds: int) -> set[int]:
    """Epochs that begin with a round: those of all but the first of ``rounds`` + 1 stages of nearly equal length."""
    return {epochs * number // (rounds + 1) for number in range(1, rounds + 1)}


def allowed_classes(label: Tensor, class_names: Sequence[str]) -> Tensor:
    """Classes that a slice can have: that of its case, or the negative one.

    Args:
        label: (N,) int64, classes of the cases.
        class_names: C names; the first of :data:`covidct.labels.NEGATIVE_CLASSES` among them is the negative one, the
            first of all where there is none.

    Returns:
        (N, C) bool.
    """
    negative = next((index for index, name in enumerate(class_names) if name in NEGATIVE_CLASSES), 0)
    allowed = F.one_hot(label, len(class_names)).bool()
    allowed[:, negative] = True
    return allowed


def pseudo_label_round(task: TwoLevelTask) -> dict[str, Any]:
    """Set the bars of a task by the slices of its training part, as they are without augmentation.

    Each network of level 1 looks at the unlabelled slices of the subjects that it may train on, and its bars follow
    from :func:`covidct.functional.select_pseudo_labels`. How right they are is told by the labelled slices of each
    fold, which the network of that fold has not seen: how many of them reach its bars, and how many of those truly
    are of the class.

    Args:
        task: in a fit with a data module of the library; its ``pseudo_bar`` is overwritten, alike on every process.

    Returns:
        Plain data. ``"epoch"``; lists over the networks, the whole level 1 first: ``"pool"``, numbers of unlabelled
        slices, ``"taken"`` and ``"bar"`` by class (2, out of reach, where none is taken); and of the labelled slices
        ``"judged"``, their number, ``"passed"`` and ``"right"`` by class.
    """
    names, rows = task.class_names, _predictions(task)
    allowed, fold = allowed_classes(rows["label"], names), task.fold_of(rows["subject"])
    unlabelled, held_out = rows["target"] < 0, torch.zeros(2, len(names), dtype=torch.int64)
    found: list[PseudoLabels] = []
    pools = []
    for number, prob in enumerate(rows["prob"].unbind(1)):
        pool = unlabelled & ((fold != number - 1) if number else unlabelled)
        found.append(
            select_pseudo_labels(
                prob[pool],
                threshold=task.hparams["pseudo_threshold"],
                quota=task.hparams["pseudo_quota"],
                allowed=allowed[pool],
            )
        )
        pools.append(int(pool.sum()))
        if number:
            unseen = ~unlabelled & (fold == number - 1)
            label = pseudo_labels_above(prob[unseen], found[-1].bar, allowed=allowed[unseen])
            passed = label >= 0
            right = passed & (label == rows["target"][unseen])
            held_out += torch.stack([label[rows].bincount(minlength=len(names)) for rows in (passed, right)])
    task.pseudo_bar.copy_(torch.stack([one.bar for one in found]))
    report = {
        "epoch": task.current_epoch,
        "pool": pools,
        "taken": [_by_class(names, one.count) for one in found],
        "bar": [_by_class(names, one.bar) for one in found],
        "judged": int((~unlabelled).sum()),
        "passed": _by_class(names, held_out[0]),
        "right": _by_class(names, held_out[1]),
    }
    _LOGGER.info("pseudo-labels: %s", report)
    return report


def _predictions(task: TwoLevelTask) -> dict[str, Tensor]:
    """Every real slice of the training part once, from all processes: ``prob`` (N, networks, C) and what is known."""
    data: Any = task.trainer.datamodule  # type: ignore[attr-defined]
    samples, trainer = data.samples("train"), task.trainer
    key = (torch.int64, ())
    shape = tuple(task.pseudo_bar.shape)
    columns = {"scan": key, "subject": key, "label": key, "target": key, "prob": (torch.float32, shape)}
    gathered = _Slices(columns).to(task.device)
    with trainer.precision_plugin.forward_context(), torch.no_grad(), evaluation(task.model):
        for number in range(trainer.global_rank, len(samples), trainer.world_size):
            plain = trainer.precision_plugin.convert_input(collate([samples[number]]))
            batch = trainer.strategy.batch_to_device(plain, task.device)
            place = batch["slice_mask"][0].nonzero()[:, 0]
            slices = batch["image"][0].transpose(0, 1)[place]
            prob = [task.model.classify_slices(network, slices) for network in task.model.slice_classifiers()]
            case = {name: batch[name].expand(len(place)) for name in ("subject", "label")}
            target = batch["slice_label"][0, place]
            gathered.update(
                {"scan": number * _MOST_SLICES + place, "target": target, "prob": torch.stack(prob, 1), **case}
            )
    found: dict[str, Tensor] = gathered.compute()
    return found


class _Slices(CollectedCases):
    """Predictions of slices, gathered from all processes."""

    def update(self, rows: Mapping[str, Tensor]) -> None:
        """Add rows, a number for each slice under ``scan``."""
        self.append(rows)

    def compute(self) -> dict[str, Tensor]:
        """All rows, in the order of their numbers."""
        return {name: torch.from_numpy(column) for name, column in self.rows().items()}


def _by_class(names: Sequence[str], values: Tensor) -> dict[str, Any]:
    """Numbers by class."""
    return dict(zip(names, values.tolist(), strict=True))
