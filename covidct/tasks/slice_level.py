"""How the first level of :class:`covidct.tasks.TwoLevelTask` learns from the slices of a batch of scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from covidct.errors import BatchError, UsageError
from covidct.functional import pseudo_labels_above
from covidct.layers import evaluation
from covidct.tasks.pseudo_labelling import allowed_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from covidct.losses import FocalLoss
    from covidct.models import SliceClassifier, TwoLevelClassifier
    from covidct.sample import Batch

__all__ = (
    "balanced_weights",
    "check_settings",
    "check_slice_labels",
    "count_labels",
    "evenly_drawn",
    "real_slices",
    "require_labels",
    "slice_losses",
)

_GOLDEN = 0.6180339887498949  # its multiples, modulo 1, fill the unit interval evenly


def slice_losses(
    model: TwoLevelClassifier,
    batch: Batch,
    *,
    fold: Tensor,
    loss: FocalLoss,
    most: int | None,
    step: int,
    bar: Tensor,
    class_names: Sequence[str],
) -> tuple[Tensor, Tensor]:
    """Loss of level 1 and of the network of each fold.

    The loss of a scan is the mean over its drawn slices, those without a label counting 0; the loss of a batch is the
    mean over its scans, those of a network's own fold counting 0. So the mean over processes is that of one process.

    Args:
        model: whose networks are in training mode.
        batch: with ``image``, ``slice_label`` and ``label``.
        fold: (B,) int64, folds of the scans.
        loss: of slices.
        most: slices drawn of each scan; see :func:`evenly_drawn`.
        step: as there.
        bar: (networks, C) least probability of a pseudo-label; above 1: none.
        class_names: C names.

    Returns:
        (networks,) float32 losses, and (networks,) int64 numbers of slices trained on; the whole level 1 comes first.
    """
    image, label, real = batch["image"], batch["slice_label"], real_slices(batch)
    known = real & (label >= 0)
    unknown = real & ~known & (bar <= 1).any()
    drawn = evenly_drawn(known | unknown, most=most, step=step)
    share = drawn.sum(1)
    losses, counts = [], []
    for number, network in enumerate(model.slice_classifiers()):
        mine = drawn & (fold != number - 1)[:, None] if number else drawn
        target = _with_pseudo_labels(model, network, batch, label, mine & unknown, bar[number], class_names)
        volume, place = (mine & (target >= 0)).nonzero(as_tuple=True)
        total = image.new_zeros(())
        if len(volume):
            logits, target = model.slice_logits(network, image[volume, :, place]), target[volume, place]
            for scan in sorted(set(volume.tolist())):
                rows = volume == scan
                total = total + loss(logits[rows], target[rows]) * rows.sum() / share[scan]
        losses.append(total / len(image))
        counts.append(len(volume))
    return torch.stack(losses), torch.tensor(counts, device=image.device)


def real_slices(batch: Batch) -> Tensor:
    """Which slices of a batch are no padding: (B, D) bool."""
    label: Tensor = batch["slice_label"]
    mask: Tensor = batch.get("slice_mask", torch.ones_like(label, dtype=torch.bool))
    return mask


def evenly_drawn(pool: Tensor, *, most: int | None, step: int) -> Tensor:
    """Draw slices that are spread evenly over those of a pool, others in each step; no random numbers.

    Args:
        pool: (B, D) bool, what can be drawn.
        most: draws per scan; None, and where the pool has no more: all.
        step: moves the draws.

    Returns:
        (B, D) bool.
    """
    if most is None:
        return pool
    offset = _GOLDEN * (step + 1) % 1
    drawn = torch.zeros_like(pool)
    for scan, row in enumerate(pool):
        there = row.nonzero()[:, 0]
        if len(there) > most:
            chosen = [int((number + offset) * len(there) / most) for number in range(most)]
            there = there[torch.tensor(chosen, device=pool.device)]
        drawn[scan, there] = True
    return drawn


def balanced_weights(labels: Sequence[Tensor], classes: int) -> Tensor:
    """Weights inverse to the frequency of the classes of slices, all scans with labels counting alike.

    Args:
        labels: of the slices of each scan, -1 unknown.
        classes: C.

    Returns:
        (C,) float32; their mean over the slices, as level 1 draws them, is one.

    Raises:
        UsageError: when a class has no slice, or a label is no class.
    """
    counts = [one[one >= 0].bincount(minlength=classes).double() for one in labels]
    share = torch.stack([one / one.sum() for one in counts if bool(one.any())]).mean(0)
    if len(share) > classes or not bool(share.all()):
        raise UsageError(
            f"slice_weights='balanced' needs training slices of each of the {classes} classes, their shares are "
            f"{[round(one, 4) for one in share.tolist()]}: give the factors as a list."
        )
    return (1 / (classes * share)).float()


def count_labels(labels: Sequence[Tensor], fold: Tensor, folds: int) -> Tensor:
    """Labelled slices that level 1 and the network of each fold can learn from.

    Args:
        labels: of the slices of each scan, -1 unknown.
        fold: (N,) int64, folds of the scans.
        folds: their number.

    Returns:
        (folds + 1,) int64.
    """
    known = torch.tensor([int((one >= 0).sum()) for one in labels], dtype=torch.int64)
    of_fold = torch.zeros(folds, dtype=torch.int64).index_add(0, fold, known)
    return torch.cat([known.sum()[None], known.sum() - of_fold])


def require_labels(counts: Tensor) -> None:
    """Refuse a training part in which a network of level 1 has nothing to learn from.

    Args:
        counts: of :func:`count_labels`.

    Raises:
        UsageError: when one of them is 0.
    """
    whole, *folds = counts.tolist()
    if not whole:
        raise UsageError(
            "No training scan has a slice label, but level 1 learns from slices: give a data set with slice labels, or "
            "a network that needs none, such as COVNet."
        )
    if 0 in folds:
        raise UsageError(
            f"All training scans with slice labels are of subjects in fold {folds.index(0)} of {len(folds)}, so that "
            "its own network has none to learn from: label slices of more subjects."
        )


def check_settings(
    *, folds: int, epochs: int, slices: int | None, rounds: int, threshold: float, quota: int | None
) -> None:
    """Refuse numbers out of range, named as the arguments of the task.

    Raises:
        UsageError: with the number.
    """
    least = {
        "folds": (folds, 2),
        "level1_epochs": (epochs, 1),
        "level1_slices": (slices, 1),
        "pseudo_rounds": (rounds, 0),
        "pseudo_quota": (quota, 1),
    }
    for name, (value, low) in least.items():
        if value is not None and (type(value) is not int or value < low):
            raise UsageError(f"{name}={value!r} is not usable: give a whole number of at least {low}.")
    if rounds >= epochs:
        raise UsageError(
            f"pseudo_rounds={rounds} does not fit level1_epochs={epochs}: give fewer rounds than epochs, since each "
            "begins a stage of at least one."
        )
    if not 0 < threshold <= 1:
        raise UsageError(f"pseudo_threshold={threshold} is not usable: give a probability above 0 and at most 1.")


def check_slice_labels(batch: Batch, classes: int) -> None:
    """Refuse a training batch whose slices have no labels, or such of no class.

    Args:
        batch: of scans.
        classes: C.

    Raises:
        BatchError: says which.
    """
    if "slice_label" not in batch:
        raise BatchError(
            "The batch has no 'slice_label', which level 1 learns from: give a data set with slice labels, or a "
            "network that needs none, such as COVNet."
        )
    last = int(batch["slice_label"].max())
    if last >= classes:
        raise BatchError(
            f"'slice_label' goes up to {last}, the network has the outputs 0 to {classes - 1}: set num_classes or "
            "merge the classes of slices as those of scans."
        )


def _with_pseudo_labels(
    model: TwoLevelClassifier,
    network: SliceClassifier,
    batch: Batch,
    label: Tensor,
    unknown: Tensor,
    bar: Tensor,
    class_names: Sequence[str],
) -> Tensor:
    """(B, D) labels, with those that a network gives itself where ``unknown``."""
    if not bool(unknown.any()) or not bool((bar <= 1).any()):
        return label
    volume, place = unknown.nonzero(as_tuple=True)
    with torch.no_grad(), evaluation(network):
        prob = model.classify_slices(network, batch["image"][volume, :, place])
    found = pseudo_labels_above(prob, bar, allowed=allowed_classes(batch["label"][volume], class_names))
    return label.index_put((volume, place), found)
