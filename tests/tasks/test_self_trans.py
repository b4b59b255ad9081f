"""Self-Trans: the recipe of MoCo, and weights that go from one training to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from covidct.errors import CheckpointError, UsageError, WeightsError
from covidct.models import SelfTransDenseNet, SliceClassifier, Trunk
from covidct.models.contrastive_weights import read_contrastive
from covidct.tasks import SelfTransTask, SliceClassifierTask, load_task
from tests.fakes.two_views import TinyViewsDataModule, views_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeTrainer = Callable[..., pl.Trainer]

SMALL: dict[str, Any] = {"backbone": "resnet18", "dim": 4, "queue_size": 6, "bn_groups": 2}
STATISTICS: dict[str, Any] = {"mean": [0.45271412], "std": [0.33165374]}  # of the published fine-tuning


def task(**changes: object) -> SelfTransTask:
    torch.manual_seed(0)
    return SelfTransTask(**{**SMALL, **changes})


@pytest.fixture(scope="module")
def checkpoint(trainer: MakeTrainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-training of one epoch."""
    run = trainer()
    run.fit(task(attention="se"), datamodule=TinyViewsDataModule())
    path = tmp_path_factory.mktemp("pretrained") / "moco.ckpt"
    run.save_checkpoint(path)
    return path


def test_recipe_is_the_published_one() -> None:
    made = task(learning_rate=0.03)
    optimizer = made.default_optimizer()
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.SGD)
    assert {name: group[name] for name in ("lr", "momentum", "weight_decay", "nesterov", "dampening")} == {
        "lr": 0.03,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "nesterov": False,
        "dampening": 0,
    }
    learning = {id(parameter) for parameter in made.model.query.parameters()}
    assert {id(parameter) for parameter in group["params"]} == learning  # the key encoder is not in it
    assert (task().hparams["learning_rate"], task().model.momentum) == (0.03 * 128 / 256, 0.999)


def rates(version: str, epochs: int) -> list[float]:
    """Learning rate of each epoch."""
    made = task(version=version, learning_rate=1.0)
    made._trainer = pl.Trainer(max_epochs=epochs, logger=False, accelerator="cpu", enable_checkpointing=False)
    optimizer = made.default_optimizer()
    scheduler = made.default_lr_scheduler(optimizer)
    if scheduler is None:
        return []
    found = []
    for _ in range(epochs):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


def test_rates_of_both_versions() -> None:
    assert rates("v1", 200) == pytest.approx([1.0] * 120 + [0.1] * 40 + [0.01] * 40)
    assert rates("v2", 4) == pytest.approx([1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    assert rates("v1", -1) == rates("v2", -1) == []


def test_versions_differ_in_projection_and_temperature() -> None:
    first, second = task(version="v1"), task(version="v2")
    assert (first.loss.temperature, second.loss.temperature) == (0.07, 0.2)
    assert task(version="v1", temperature=0.5).loss.temperature == 0.5
    assert isinstance(first.model.query.head, nn.Linear)
    assert isinstance(second.model.query.head, nn.Sequential)
    assert first.hparams["temperature"] is None


def test_fine_tuning_begins_with_the_query_trunk(checkpoint: Path) -> None:
    pretrained = load_task(checkpoint)
    assert isinstance(pretrained, SelfTransTask)
    fine = SliceClassifierTask(
        num_classes=2, backbone="resnet18", attention="se", weights=str(checkpoint), **STATISTICS
    )
    head = fine.model.head.weight.clone()
    fine.start_fresh()
    expected = pretrained.model.query.trunk.state_dict()
    assert {name for name, value in fine.model.trunk.state_dict().items() if not value.equal(expected[name])} == set()
    assert fine.model.head.weight.equal(head)
    images = views_batch()["image"]
    assert fine.eval().model.features(images).equal(pretrained.model.encode(images))


def test_a_trunk_without_running_estimates_takes_the_weights(checkpoint: Path) -> None:
    trunk = Trunk("resnet18", attention="se", running_estimates=False, weights=str(checkpoint), **STATISTICS)
    pretrained = load_task(checkpoint)
    assert isinstance(pretrained, SelfTransTask)
    expected = dict(pretrained.model.query.trunk.named_parameters())
    assert all(value.equal(expected[name]) for name, value in trunk.named_parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet34"}, "resnet18 with attention=se, not a resnet34 with attention=se"),
        ({"attention": None}, "attention=se, not a resnet18 with attention=None"),
        ({"mean": None}, r"mean=\[0.45271412\] and std=\[0.33165374\]"),
        ({"std": [0.2]}, r"std=\[0.33165374\]"),
        ({"in_channels": 1}, "three input channels: set in_channels=3"),
    ],
)
def test_another_network_refuses_the_weights(checkpoint: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        Trunk(**{"backbone": "resnet18", "attention": "se", **STATISTICS, **changes}, weights=str(checkpoint))


def test_one_pre_training_follows_another(checkpoint: Path) -> None:
    before = load_task(checkpoint)
    assert isinstance(before.model, SelfTransDenseNet)
    after = task(attention="se", weights=str(checkpoint))
    queue = after.model.queue.clone()
    after.start_fresh()
    for encoder in (after.model.query, after.model.key):
        state = encoder.state_dict()
        assert all(value.equal(state[name]) for name, value in before.model.query.state_dict().items())
    assert after.model.queue.equal(queue)  # keys of other images stay behind
    with pytest.raises(WeightsError, match="do not fit"):
        task(attention="se", version="v1").model.load_backbone(str(checkpoint))


def test_other_checkpoints_are_refused(trainer: MakeTrainer, tmp_path: Path, checkpoint: Path) -> None:
    run = trainer()
    run.fit(SliceClassifierTask(num_classes=2, backbone="resnet18"), datamodule=TinyViewsDataModule())
    run.save_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="SliceClassifierTask, which has no trunk to start from"):
        SliceClassifier(backbone="resnet18", weights=str(tmp_path / "other.ckpt"))
    damaged = torch.load(checkpoint, weights_only=True)
    del damaged["state_dict"]["model.query.trunk.mean"]
    torch.save(damaged, tmp_path / "damaged.ckpt")
    with pytest.raises(CheckpointError, match="damaged"):
        read_contrastive(tmp_path / "damaged.ckpt")


def test_checkpoint_keeps_queue_and_pointer(checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    loaded = load_task(checkpoint)
    assert isinstance(loaded, SelfTransTask)
    assert loaded.model.queue.equal(state["model.queue"])
    assert int(loaded.model.pointer) == 4  # two batches of two
    assert not loaded.model.queue[:4].equal(task(attention="se").model.queue[:4])
    assert loaded.model.queue[4:].equal(task(attention="se").model.queue[4:])


def test_a_rate_beside_another_optimizer_is_refused() -> None:
    with pytest.raises(UsageError, match="learning_rate"):
        task(learning_rate=0.1, optimizer=torch.optim.Adam)
