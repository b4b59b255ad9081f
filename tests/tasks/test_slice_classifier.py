"""The task of the slice classifier: recipe, loss, weights at the start, learning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torchvision import models as tv

from covidct.errors import UsageError, WeightsError
from covidct.tasks import SliceClassifierTask, load_task
from tests.fakes.lesions import TinyLesionsDataModule, lesions_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl

    MakeTrainer = Callable[..., pl.Trainer]


def test_recipe(trainer: MakeTrainer) -> None:
    task = SliceClassifierTask(backbone="resnet18")
    task.trainer = trainer(max_epochs=30)
    found = task.configure_optimizers()
    optimizer = found["optimizer"]
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-4, 1e-2)
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == sum(
        p.numel() for p in task.model.parameters()
    )
    schedule = found["lr_scheduler"]["scheduler"]  # type: ignore[typeddict-item]
    rates = []
    for _ in range(31):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-4 * (1 + math.cos(math.pi * epoch / 30)) / 2 for epoch in range(31)], abs=1e-12)


def test_rate_beside_another_optimizer_is_refused() -> None:
    both: tuple[dict[str, Any], ...] = ({"learning_rate": 0.1}, {"weight_decay": 0.0})
    for changed in both:
        with pytest.raises(UsageError, match="learning_rate"):
            SliceClassifierTask(backbone="resnet18", optimizer=torch.optim.SGD, **changed)


def test_focal_loss_reaches_the_training_step() -> None:
    torch.manual_seed(0)
    plain = SliceClassifierTask(backbone="resnet18")
    focal = SliceClassifierTask(backbone="resnet18", focal_gamma=2.0)
    focal.load_state_dict(plain.state_dict())
    batch = lesions_batch(3)
    losses = []
    for task in (plain, focal):
        task.log = lambda *_, **__: None  # type: ignore[method-assign]
        losses.append(task.training_step(batch, 0).item())
        logits = task(batch)
    p = logits.softmax(1)[range(3), batch["label"]]
    assert losses == pytest.approx([-p.log().mean().item(), ((1 - p) ** 2 * -p.log()).mean().item()], rel=1e-4)


def test_weights_are_fetched_by_a_fresh_training_alone(trainer: MakeTrainer, tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = tv.resnet18()
    torch.save(published.state_dict(), tmp_path / "w.pth")
    sgd = torch.optim.SGD

    def make(weights: str) -> SliceClassifierTask:
        return SliceClassifierTask(backbone="resnet18", weights=weights, optimizer=lambda p: sgd(p, lr=0.0))

    task = make(str(tmp_path / "w.pth"))
    first = task.model.trunk.network.get_parameter("conv1.weight")
    assert not first.equal(published.conv1.weight)
    run = trainer()
    run.fit(task, datamodule=TinyLesionsDataModule())
    assert first.equal(published.conv1.weight)
    run.save_checkpoint(tmp_path / "task.ckpt")
    (tmp_path / "w.pth").unlink()
    loaded = load_task(tmp_path / "task.ckpt")
    assert loaded.state_dict()["model.trunk.network.conv1.weight"].equal(published.conv1.weight)
    with pytest.raises(WeightsError, match=r"w\.pth"):
        trainer().fit(make(str(tmp_path / "w.pth")), datamodule=TinyLesionsDataModule())


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "gamma"), [(None, 0.0), ("eca", 2.0)])
def test_learns_six_slices_by_heart(trainer: MakeTrainer, attention: str | None, gamma: float) -> None:
    torch.manual_seed(0)
    task = SliceClassifierTask(
        backbone="resnet18",
        attention=attention,  # type: ignore[arg-type]
        focal_gamma=gamma,
        learning_rate=1e-3,
    )
    run = trainer(max_epochs=25, check_val_every_n_epoch=25)
    run.fit(task, datamodule=TinyLesionsDataModule(batch_size=6))
    assert run.callback_metrics["train_loss"] < 0.1
    assert run.callback_metrics["train_accuracy"] == 1
