"""The slice classifiers of a study: every combination of backbone, attention block, loss and optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

    from covidct.layers import Attention

__all__ = ("LOSSES", "OPTIMIZERS", "SliceCombination", "combine")

OPTIMIZERS: Mapping[str, Callable[[Any], Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, lr=1e-4, weight_decay=1e-2),
    "sgd": partial(torch.optim.SGD, lr=1e-2, momentum=0.9, weight_decay=1e-4),
    "adam": partial(torch.optim.Adam, lr=1e-4),
}
"""Recipes by name, all with a rate that falls to zero as a cosine: recommendations (``adamw`` is the one of
:class:`covidct.tasks.SliceClassifierTask`); the document names optimisers and gives no settings."""

LOSSES: Mapping[str, float] = {"cross_entropy": 0.0, "focal": 2.0}
"""Name of a loss to gamma; 2 is the focal loss's own recommendation."""

_ATTENTIONS: Mapping[str, Attention | None] = {
    "none": None,
    "se": "se",
    "eca": "eca",
    "cbam": "cbam",
}
_TITLES = {"none": "", "se": "SE", "eca": "ECA", "cbam": "CBAM", "cross_entropy": "cross-entropy", "focal": "focal"}
_OPTIMIZER_TITLES = {"adamw": "AdamW", "sgd": "SGD", "adam": "Adam"}


@dataclass(frozen=True, slots=True)
class SliceCombination:
    """One slice classifier of the study.

    Attributes:
        backbone: of :class:`covidct.tasks.SliceClassifierTask`.
        attention: ``"none"``, ``"se"``, ``"eca"`` or ``"cbam"``.
        loss: ``"cross_entropy"`` or ``"focal"``.
        optimizer: of :data:`OPTIMIZERS`.
    """

    backbone: str
    attention: str
    loss: str
    optimizer: str

    @property
    def name(self) -> str:
        """Part of file names."""
        return f"{self.backbone}-{self.attention}-{self.loss}-{self.optimizer}"

    @property
    def title(self) -> str:
        """What people call it."""
        network = f"{self.backbone} {_TITLES[self.attention]}".strip()
        return f"{network}, {_TITLES[self.loss]}, {_OPTIMIZER_TITLES[self.optimizer]}"

    def options(self, num_classes: int) -> dict[str, Any]:
        """Arguments of :class:`covidct.tasks.SliceClassifierTask` for ``num_classes``, its optimizer too."""
        return {
            "num_classes": num_classes,
            "backbone": self.backbone,
            "attention": _ATTENTIONS[self.attention],
            "focal_gamma": LOSSES[self.loss],
            "optimizer": OPTIMIZERS[self.optimizer],
        }


def combine(
    *, backbones: Sequence[str], attentions: Sequence[str], losses: Sequence[str], optimizers: Sequence[str]
) -> tuple[SliceCombination, ...]:
    """All combinations, in the order of the lists.

    Args:
        backbones: of :class:`covidct.tasks.SliceClassifierTask`.
        attentions: of ``none``, ``se``, ``eca``, ``cbam``.
        losses: of ``cross_entropy``, ``focal``.
        optimizers: of :data:`OPTIMIZERS`.

    Returns:
        Each combination once; the optimizers change first, the backbones last.

    Raises:
        UsageError: for an empty list, a name given twice or an unknown one.
    """
    given = {"backbones": backbones, "attentions": attentions, "losses": losses, "optimizers": optimizers}
    known = {"attentions": _ATTENTIONS, "losses": LOSSES, "optimizers": OPTIMIZERS}
    for what, names in given.items():
        choice = known.get(what, names)
        if not names or len(set(names)) < len(names) or set(names) - set(choice):
            tail = f" of {', '.join(choice)}" if what in known else ""
            raise UsageError(f"{what}={list(names)} make no study: give each name once, at least one{tail}.")
    return tuple(SliceCombination(*names) for names in product(backbones, attentions, losses, optimizers))
