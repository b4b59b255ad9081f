"""The recipe of the U-Net: loss, optimizer and schedule."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.errors import UsageError
from covidct.losses import DiceCELoss
from covidct.tasks import UNet3dTask
from tests.fakes.lungs import TinyLungsDataModule, lungs_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeTrainer = Callable[..., pl.Trainer]


def small(**changes: Any) -> UNet3dTask:  # noqa: ANN401
    torch.manual_seed(0)
    return UNet3dTask(**{"channels": [4, 8], **changes})


class Rates(pl.Callback):
    """The learning rate of each epoch."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_the_default_is_the_network_of_the_document() -> None:
    assert sum(parameter.numel() for parameter in UNet3dTask().parameters()) == 5_602_595


def test_the_loss_is_dice_and_cross_entropy_over_all_slices() -> None:
    task, batch = small().eval(), lungs_batch()
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    assert not batch["slice_mask"].all()
    with torch.no_grad():
        expected = DiceCELoss()(task(batch), batch["lung_mask"])
        assert task.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-6)


def test_adam_falls_to_zero_as_a_power(trainer: MakeTrainer) -> None:
    seen = Rates()
    run = trainer(max_epochs=5, callbacks=[seen], limit_val_batches=0)
    run.fit(small(), datamodule=TinyLungsDataModule(2))
    assert isinstance(run.optimizers[0], torch.optim.Adam)
    assert seen.rates == pytest.approx([1e-3 * (1 - epoch / 5) ** 0.9 for epoch in range(5)])


@pytest.mark.parametrize("options", [{"power": 0.0}, {"max_epochs": -1, "max_steps": 3}])
def test_the_rate_is_constant_without_power_or_length(trainer: MakeTrainer, options: dict[str, Any]) -> None:
    seen, power = Rates(), options.pop("power", 0.9)
    run = trainer(**{"max_epochs": 3, **options}, callbacks=[seen], limit_val_batches=0)
    run.fit(small(power=power), datamodule=TinyLungsDataModule(2))
    assert seen.rates == pytest.approx([1e-3] * 3)


def test_own_optimizer_and_scheduler(trainer: MakeTrainer) -> None:
    task = small(
        optimizer=partial(torch.optim.SGD, lr=0.5),
        lr_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1),
    )
    run = trainer()
    run.fit(task, datamodule=TinyLungsDataModule(2))
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": partial(torch.optim.SGD, lr=0.1), "learning_rate": 0.1},
        {"lr_scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=1), "power": 0.5},
        {"power": -1.0},
        {"norm": "group"},
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        small(**options)
