"""The task of the slice classifier: recipe, loss, weights at the start, learning."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch
from torchvision import models as tv

from covidct.datamodules import CXRDataModule
from covidct.datasets import PhantomCXR
from covidct.errors import UsageError, WeightsError
from covidct.tasks import SliceClassifierTask, load_task
from tests.fakes.lesions import TinyLesionsDataModule, lesions_batch
from tests.fakes.volumes import TinyVolumesDataModule
from tests.fakes.xrays import PREPROCESSING, STATISTICS, TinyXRaysDataModule, xrays_batch

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


def test_xrays_from_the_cohort_to_the_checkpoint(trainer: MakeTrainer, tmp_path: Path) -> None:
    data = CXRDataModule(
        PhantomCXR(12, shape=(64, 64), classes="covid_vs_rest"), size=48, batch_size=4, cache_dir=str(tmp_path)
    )
    task = SliceClassifierTask(num_classes=2, backbone="resnet18", in_channels=1, normalisation="dataset")
    run = trainer()
    run.fit(task, datamodule=data)
    assert task.kind == "cxr"
    run.test(task, datamodule=data, verbose=False)
    assert run.callback_metrics["test_loss"].isfinite()
    found: Any = run.predict(task, datamodule=data)
    assert sum(len(part["id"]) for part in found) == 12
    assert found[0]["prob"].shape == (4, 2)
    run.save_checkpoint(tmp_path / "task.ckpt")
    loaded = load_task(tmp_path / "task.ckpt")
    assert isinstance(loaded, SliceClassifierTask)
    assert loaded.kind == "cxr"
    assert loaded.model.trunk.in_channels == 1
    training = data.samples("train")
    pixels = torch.stack([training[index]["image"].double() for index in range(len(training))])
    assert loaded.model.trunk.mean.item() == pytest.approx(pixels.mean().item(), abs=1e-6)
    assert loaded.model.trunk.std.item() == pytest.approx(pixels.std(correction=0).item(), abs=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_of_the_data_set_are_taken_by_a_fresh_training_alone(
    trainer: MakeTrainer, tmp_path: Path, channels: Literal[1, 3]
) -> None:
    options: dict[str, Any] = {"num_classes": 2, "backbone": "resnet18", "in_channels": channels}
    task = SliceClassifierTask(normalisation="dataset", **options)
    run = trainer()
    run.fit(task, datamodule=TinyXRaysDataModule(preprocessing=replace(PREPROCESSING, size=64)))
    assert task.model.trunk.mean.flatten().tolist() == [STATISTICS[0]] * channels
    assert task.model.trunk.std.flatten().tolist() == [STATISTICS[1]] * channels
    run.save_checkpoint(tmp_path / "task.ckpt")
    loaded = load_task(tmp_path / "task.ckpt")
    assert isinstance(loaded, SliceClassifierTask)
    assert loaded.model.trunk.mean.equal(task.model.trunk.mean)
    assert loaded.model.trunk.std.equal(task.model.trunk.std)
    batch = xrays_batch(size=64)
    with torch.no_grad():
        assert loaded(batch).equal(task.eval()(batch))


def test_statistics_of_the_data_set_need_a_data_module_that_knows_them(trainer: MakeTrainer) -> None:
    task = SliceClassifierTask(backbone="resnet18", normalisation="dataset")
    with pytest.raises(UsageError, match="normalisation='dataset' needs a data module"):
        trainer().fit(task, datamodule=TinyLesionsDataModule())


def test_statistics_beside_those_of_the_data_set_are_refused() -> None:
    with pytest.raises(UsageError, match="leave both out"):
        SliceClassifierTask(backbone="resnet18", normalisation="dataset", mean=[0.5])


def test_checkpoints_from_before_the_channels_have_three(trainer: MakeTrainer, tmp_path: Path) -> None:
    task = SliceClassifierTask(backbone="resnet18")
    run = trainer(fast_dev_run=True)
    run.fit(task, datamodule=TinyLesionsDataModule())
    run.save_checkpoint(tmp_path / "new.ckpt")
    checkpoint = torch.load(tmp_path / "new.ckpt", weights_only=True)
    for name in ("in_channels", "normalisation"):
        del checkpoint["hyper_parameters"][name]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    loaded = load_task(tmp_path / "old.ckpt")
    assert isinstance(loaded, SliceClassifierTask)
    assert loaded.model.trunk.in_channels == 3
    with torch.no_grad():
        assert loaded(lesions_batch()).equal(task.eval()(lesions_batch()))


def test_volumes_are_refused_in_words(trainer: MakeTrainer) -> None:
    with pytest.raises(UsageError, match=r"takes data of kind ct_slice or cxr, the data module gives ct_volume"):
        trainer(fast_dev_run=True).fit(SliceClassifierTask(backbone="resnet18"), datamodule=TinyVolumesDataModule())


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
