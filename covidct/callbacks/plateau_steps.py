"""Steps of ``ReduceLROnPlateau`` that Lightning leaves out where a training goes on from a checkpoint.

It takes them after the callbacks of the end of an epoch, which write the checkpoint, and makes up for none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytorch_lightning as pl

__all__ = ("steps_due", "take_steps")


def steps_due(trainer: pl.Trainer) -> dict[int, float]:
    """What Lightning is about to do at the end of an epoch: number of the scheduler to the value that it is shown."""
    return {
        number: float(trainer.callback_metrics[str(config.monitor)])
        for number, config in enumerate(trainer.lr_scheduler_configs)
        if config.reduce_on_plateau
        and config.interval == "epoch"
        and (trainer.current_epoch + 1) % config.frequency == 0
        and str(config.monitor) in trainer.callback_metrics
    }


def take_steps(trainer: pl.Trainer, due: dict[int, float]) -> None:
    """Make up for steps that were due when the checkpoint was written."""
    configs = trainer.lr_scheduler_configs
    for number, value in due.items():
        if number < len(configs) and configs[number].reduce_on_plateau:
            configs[number].scheduler.step(value)  # type: ignore[arg-type]  # shown as an older kind
