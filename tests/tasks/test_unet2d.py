"""The recipe of the 2-D U-Net: loss, optimizer and schedule."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.errors import UsageError
from covidct.losses import DiceBCELoss
from covidct.tasks import UNet2dTask
from tests.fakes.lung_slices import TinyLungSlicesDataModule, lung_slices_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeTrainer = Callable[..., pl.Trainer]


def small(**changes: Any) -> UNet2dTask:  # noqa: ANN401
    torch.manual_seed(0)
    return UNet2dTask(**{"channels": [4, 8], **changes})


class Rates(pl.Callback):
    """The learning rate of each epoch."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_the_default_is_the_network_of_2015() -> None:
    assert sum(parameter.numel() for parameter in UNet2dTask().parameters()) == 31_036_481


def test_the_loss_is_dice_and_cross_entropy_of_both_lungs() -> None:
    task, batch = small().eval(), lung_slices_batch()
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    assert set(batch["lung_mask"].unique().tolist()) == {0, 1, 2}
    with torch.no_grad():
        expected = DiceBCELoss()(task(batch), batch["lung_mask"] > 0)
        assert task.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-6)


def test_adamw_falls_to_zero_as_a_cosine(trainer: MakeTrainer) -> None:
    seen = Rates()
    run = trainer(max_epochs=5, callbacks=[seen], limit_val_batches=0)
    run.fit(small(), datamodule=TinyLungSlicesDataModule(2))
    assert isinstance(run.optimizers[0], torch.optim.AdamW)
    assert seen.rates == pytest.approx([5e-4 * (1 + math.cos(math.pi * epoch / 5)) for epoch in range(5)])


def test_the_rate_is_constant_without_a_length(trainer: MakeTrainer) -> None:
    seen = Rates()
    run = trainer(max_epochs=-1, max_steps=3, callbacks=[seen], limit_val_batches=0)
    run.fit(small(learning_rate=0.01), datamodule=TinyLungSlicesDataModule(2))
    assert seen.rates == pytest.approx([0.01] * 3)


def test_own_optimizer_and_scheduler(trainer: MakeTrainer) -> None:
    task = small(
        optimizer=partial(torch.optim.SGD, lr=0.5),
        lr_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1),
    )
    run = trainer()
    run.fit(task, datamodule=TinyLungSlicesDataModule(2))
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": partial(torch.optim.SGD, lr=0.1), "learning_rate": 0.1},
        {"upsample": "nearest"},
        {"channels": [4]},
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        small(**options)
