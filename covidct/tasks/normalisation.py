"""Mean and standard deviation that a network normalises with: ImageNet's, given ones, or those of the training data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from covidct.errors import UsageError
from covidct.tasks.training_statistics import training_statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytorch_lightning as pl
    from torch import Tensor

__all__ = ("check_normalisation", "fill_statistics")


def check_normalisation(
    normalisation: Literal["imagenet", "dataset"], *, mean: Sequence[float] | None, std: Sequence[float] | None
) -> None:
    """Refuse what contradicts itself.

    Args:
        normalisation: of the task.
        mean: of the task, None where it is not given.
        std: as ``mean``.

    Raises:
        UsageError: for an unknown normalisation, or statistics given beside those of the data set.
    """
    if normalisation not in ("imagenet", "dataset"):
        raise UsageError(f"normalisation={normalisation!r} is unknown: use 'imagenet' or 'dataset'.")
    if normalisation == "dataset" and not (mean is None and std is None):
        raise UsageError(
            "normalisation='dataset' takes mean and std from the training images: leave both out, or give them with "
            "normalisation='imagenet', of which they take the place."
        )


def fill_statistics(mean: Tensor, std: Tensor, trainer: pl.Trainer) -> None:
    """Put mean and standard deviation of the training images into the buffers of a network.

    Args:
        mean: buffer, (1, 1 or 3, 1, 1); all its channels get one value, since the images are grey.
        std: as ``mean``.
        trainer: of a run whose data module is set up.

    Raises:
        UsageError: when its data module does not know them; see :func:`training_statistics`.
    """
    found = training_statistics(trainer)
    mean.fill_(found[0])
    std.fill_(found[1])
