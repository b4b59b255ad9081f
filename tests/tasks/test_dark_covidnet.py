"""The task of DarkCovidNet: recipe, statistics at the start, learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.tasks import DarkCovidNetTask
from tests.fakes.xrays import STATISTICS, TinyXRaysDataModule

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytorch_lightning as pl

    MakeTrainer = Callable[..., pl.Trainer]


def fastai(start: float, end: float, count: int) -> list[float]:
    """fastai 1's ``annealing_cos`` from one value to another."""
    return [end + (start - end) / 2 * (np.cos(np.pi * step / count) + 1) for step in range(count)]


def test_recipe_is_one_cycle_of_fastai(trainer: MakeTrainer) -> None:
    rates: list[float] = []
    betas: list[float] = []

    class Noted(DarkCovidNetTask):
        """Notes what each step is made with, and makes none: the network is beside the point."""

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:  # noqa: ANN401
            group = self.optimizers().param_groups[0]  # type: ignore[union-attr]
            rates.append(group["lr"])
            betas.append(group["betas"][0])
            return self.model.head.bias.sum()

    task = Noted()
    run = trainer(max_epochs=5, limit_val_batches=0)
    run.fit(task, datamodule=TinyXRaysDataModule(4, batch_size=2))
    assert len(rates) == 10
    (optimizer,) = run.optimizers
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    assert (group["betas"][1], group["weight_decay"]) == (0.99, 0.01)
    assert sum(p.numel() for p in group["params"]) == 1_164_434
    # 30 % up, the rest down; PyTorch counts the first and the last step as ends of the cycle
    assert rates[:3] == pytest.approx([*fastai(3e-3 / 25, 3e-3, 2), 3e-3])
    assert rates[2:] == pytest.approx([*fastai(3e-3, 3e-3 / 25e4, 7), 3e-3 / 25e4])
    assert betas[:3] == pytest.approx([*fastai(0.95, 0.85, 2), 0.85])
    assert betas[-1] == pytest.approx(0.95)


def test_other_optimizers_have_a_cycle_too_of_their_own_rate(trainer: MakeTrainer) -> None:
    for optimizer in (torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad):
        task = DarkCovidNetTask(optimizer=lambda p, make=optimizer: make(p, lr=0.5))  # type: ignore[misc]
        run = trainer(fast_dev_run=True)
        run.fit(task, datamodule=TinyXRaysDataModule())
        (scheduler,) = [one.scheduler for one in run.lr_scheduler_configs]
        assert scheduler.optimizer.param_groups[0]["max_lr"] == 0.5
    with pytest.raises(UsageError, match="learning_rate"):
        DarkCovidNetTask(optimizer=torch.optim.SGD, learning_rate=0.1)


def test_a_training_without_end_has_a_constant_rate(trainer: MakeTrainer) -> None:
    task = DarkCovidNetTask()
    run = trainer(max_epochs=-1, max_time="00:00:00:00", limit_val_batches=0)
    run.fit(task, datamodule=TinyXRaysDataModule())
    assert run.lr_scheduler_configs == []


def test_statistics_are_those_of_the_training_images(trainer: MakeTrainer) -> None:
    task, kept = DarkCovidNetTask(), DarkCovidNetTask(normalisation="imagenet", mean=[0.5], std=[0.25])
    for one in (task, kept):
        trainer(fast_dev_run=True).fit(one, datamodule=TinyXRaysDataModule())
    assert task.model.mean.flatten().tolist() == [STATISTICS[0]] * 3
    assert task.model.std.flatten().tolist() == [STATISTICS[1]] * 3
    assert (kept.model.mean.item(), kept.model.std.item()) == (0.5, 0.25)
    with pytest.raises(UsageError, match="leave both out"):
        DarkCovidNetTask(mean=[0.5])


@pytest.mark.slow
def test_learns_four_xrays_by_heart(trainer: MakeTrainer) -> None:
    torch.manual_seed(0)
    task = DarkCovidNetTask()
    run = trainer(max_epochs=12, limit_val_batches=0)
    run.fit(task, datamodule=TinyXRaysDataModule(batch_size=4))
    assert run.callback_metrics["train_loss"] < 0.1
    assert run.callback_metrics["train_accuracy"] == 1
