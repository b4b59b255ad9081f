"""What a NaN does to a training: an error that names it, or a step that is left out; weights stay finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.callbacks import NonFiniteGuard
from covidct.callbacks.non_finite_guard import non_finite_modules
from covidct.errors import TrainingError, UsageError
from covidct.tasks import MaskedGAPResNetTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from covidct.datamodules import CTVolumeDataModule

    MakeTrainer = Callable[..., pl.Trainer]
    MakeTask = Callable[..., MaskedGAPResNetTask]


class Poison(pl.Callback):
    """Makes the loss NaN in some steps, or one layer's gradient infinite."""

    def __init__(self, steps: set[int], *, layer: str | None = None) -> None:
        self.steps, self.layer = steps, layer
        self.number = -1

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self.number += 1

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        if self.layer is None and self.number in self.steps:
            loss.data.fill_(float("nan"))

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.number not in self.steps:
            return
        for name, parameter in pl_module.named_parameters():
            if self.layer is not None and name.startswith(self.layer) and parameter.grad is not None:
                parameter.grad.fill_(float("inf"))


class Weights(pl.Callback):
    """A weight after each step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self.seen.append(next(pl_module.parameters()).detach().flatten()[:5].clone())


def fit(
    make_trainer: MakeTrainer, task: MaskedGAPResNetTask, data: CTVolumeDataModule, *callbacks: pl.Callback
) -> None:
    trainer = make_trainer(callbacks=list(callbacks), limit_val_batches=0)
    trainer.fit(task, datamodule=data)


def test_a_loss_that_is_no_number_stops(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"Step 1 \(loss nan, batch of .*\): the loss is not finite.*step-000001"):
        fit(make_trainer, make_task(), data, Poison({1}), NonFiniteGuard())
    (kept,) = tmp_path.rglob("*.pt")
    record = torch.load(kept, weights_only=True)
    assert record["step"] == 1
    assert record["batch"]["image"].shape[0] == len(record["batch"]["id"]) == 2


def test_the_layer_is_named(make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule) -> None:
    with pytest.raises(TrainingError, match=r"the gradients of model\.head are not finite"):
        fit(make_trainer, make_task(), data, Poison({0}, layer="model.head"), NonFiniteGuard(keep_batch=False))


def test_a_step_is_skipped_and_the_weights_stay(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    guard, weights = NonFiniteGuard(action="skip"), Weights()
    fit(make_trainer, make_task(), data, Poison({1}, layer="model"), guard, weights)
    first, second, third = weights.seen
    assert torch.equal(first, second)
    assert not torch.equal(second, third)
    assert bool(third.isfinite().all())
    assert guard.skipped == guard.state_dict()["skipped"] == 1
    assert "The step is skipped" in caplog.text


class Spoil(pl.Callback):
    """Puts a NaN into the image of some batches."""

    def __init__(self, batches: set[int]) -> None:
        self.batches = batches
        self.ids: list[list[str]] = []

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        self.ids.append(list(batch["id"]))
        if batch_idx in self.batches:
            batch["image"] = batch["image"].clone().fill_(float("nan"))


def test_buffers_stay_too(make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule) -> None:
    task, guard = make_task(), NonFiniteGuard(action="skip", keep_batch=False)
    fit(make_trainer, task, data, Spoil({1}), guard)
    assert guard.skipped == 1
    buffers = dict(task.named_buffers())
    assert all(bool(buffer.isfinite().all()) for buffer in buffers.values())
    counted = {int(buffer) for name, buffer in buffers.items() if name.endswith("num_batches_tracked")}
    assert counted == {2}, "three batches less the one that was skipped"


def test_of_accumulated_batches_the_bad_one_is_named(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    spoil = Spoil({1})
    trainer = make_trainer(callbacks=[spoil, NonFiniteGuard()], limit_val_batches=0, accumulate_grad_batches=3)
    with pytest.raises(TrainingError, match=r"loss nan"):
        trainer.fit(make_task(), datamodule=data)
    assert len(spoil.ids) == 3
    (kept,) = tmp_path.rglob("*.pt")
    record = torch.load(kept, weights_only=True)
    assert record["batch"]["id"] == spoil.ids[1]
    assert bool(record["batch"]["image"].isnan().all())


def test_too_many_skips_are_an_error(make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule) -> None:
    guard = NonFiniteGuard(action="skip", most_skips=1, keep_batch=False)
    with pytest.raises(TrainingError, match="1 steps before it were skipped"):
        fit(make_trainer, make_task(), data, Poison({0, 1, 2}, layer="model"), guard)


def test_modules_of_a_network() -> None:
    last = torch.nn.Linear(2, 1)
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), last)
    network(torch.ones(1, 2)).sum().backward()
    assert non_finite_modules(network) == ()
    assert last.bias.grad is not None
    last.bias.grad.fill_(float("nan"))
    assert non_finite_modules(network) == ("1",)


@pytest.mark.parametrize("arguments", [{"action": "ignore"}, {"most_skips": 0}])
def test_impossible_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        NonFiniteGuard(**arguments)
