"""Mean and standard deviation of the training images, which a data module computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from covidct.errors import UsageError

if TYPE_CHECKING:
    import pytorch_lightning as pl

__all__ = ("training_statistics",)


def training_statistics(trainer: pl.Trainer) -> tuple[float, float]:
    """Mean and population standard deviation of the images that a trainer trains on, for buffers of a network.

    Every process computes the same from the prepared images on its disk, once per data module.

    Args:
        trainer: of a run whose data module is set up.

    Returns:
        Mean in [0, 1] and standard deviation > 0 of all pixels of the training part, without augmentation.

    Raises:
        UsageError: when the run has no data module of covidct, no training images, or constant ones.
    """
    module: Any = getattr(trainer, "datamodule", None)
    statistics = getattr(module, "image_statistics", None)
    if statistics is None:
        raise UsageError(
            "normalisation='dataset' needs a data module that knows its training images: give the trainer a data "
            "module of covidct.datamodules, or use normalisation='imagenet'."
        )
    mean, std = statistics()
    return float(mean), float(std)
