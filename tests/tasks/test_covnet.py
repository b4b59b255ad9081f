"""The task of COVNet: recipe, frozen normalisation, slice scores, learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision import models as tv

from covidct.errors import UsageError
from covidct.tasks import COVNetTask
from tests.fakes.volumes import TinyVolumesDataModule, tiny_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl

    MakeTrainer = Callable[..., pl.Trainer]


def small(**changes: Any) -> COVNetTask:  # noqa: ANN401
    torch.manual_seed(0)
    return COVNetTask(**{"num_classes": 2, "backbone": "resnet18", "slice_size": 48, **changes})


def test_recipe() -> None:
    task = small()
    found = task.configure_optimizers()
    optimizer: Any = found["optimizer"]
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-5, 0.1)
    norms = {id(p) for part in task.modules() if isinstance(part, _BatchNorm) for p in part.parameters()}
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert len(norms) == 40
    assert trained == {id(p) for p in task.parameters()} - norms
    assert not any(p.requires_grad for p in task.parameters() if id(p) in norms)
    schedule: Any = found["lr_scheduler"]  # type: ignore[typeddict-item]
    assert schedule["monitor"] == "val_loss"
    rates = []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.6, 0.6, 0.6, 0.6):
        schedule["scheduler"].step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-5] * 5 + [3e-6] * 5 + [9e-7])


def test_normalisation_is_trained_where_it_is_asked_for() -> None:
    assert all(parameter.requires_grad for parameter in small(train_norm=True).parameters())


def test_rate_beside_another_optimizer_is_refused() -> None:
    with pytest.raises(UsageError, match="learning_rate"):
        small(learning_rate=0.1, optimizer=torch.optim.SGD)


def test_training_without_validation_keeps_the_rate(trainer: MakeTrainer) -> None:
    task = small()
    run = trainer(max_epochs=2, limit_val_batches=0)
    with pytest.warns(RuntimeWarning, match="val_loss"):
        run.fit(task, datamodule=TinyVolumesDataModule(2))
    assert isinstance(task.lr_schedulers(), ReduceLROnPlateau)
    assert run.optimizers[0].param_groups[0]["lr"] == 1e-5


def test_weights_are_fetched_by_a_fresh_training(trainer: MakeTrainer, tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = tv.resnet18()
    torch.nn.init.normal_(published.layer1[0].bn1.weight)
    torch.save(published.state_dict(), tmp_path / "w.pth")
    task = small(weights=str(tmp_path / "w.pth"))
    assert not task.model.get_parameter("trunk.network.conv1.weight").equal(published.conv1.weight)
    trainer().fit(task, datamodule=TinyVolumesDataModule(2))
    moved = task.model.get_parameter("trunk.network.conv1.weight") - published.conv1.weight
    assert 0 < float(moved.detach().abs().max()) < 1e-4
    assert task.model.get_parameter("trunk.network.layer1.0.bn1.weight").equal(published.layer1[0].bn1.weight)


@pytest.mark.parametrize("statistics", ["scan", "running"])
def test_slice_scores_are_the_head_on_each_slice(statistics: str) -> None:
    task = small(statistics=statistics).eval()
    batch = tiny_batch(2)  # 3 and 4 slices
    with torch.no_grad():
        found = task.predict_step(batch, 0)
        scores = found["slice_scores"]
        assert scores.shape == (2, 4, 2)
        assert scores.isnan().all(2).tolist() == [[False] * 3 + [True], [False] * 4]
        features, _ = task.model.slice_features(batch["image"][:1, :, :3])
        expected = torch.softmax(features[0] @ task.model.head.weight.T + task.model.head.bias, 1)
        torch.testing.assert_close(scores[0, :3], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found["prob"], task(batch).softmax(1), rtol=1e-4, atol=1e-5)
        if statistics == "running":
            alone = task({"image": batch["image"][:1, :, 2:3]}).softmax(1)
            torch.testing.assert_close(scores[:1, 2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"statistics": "scan"}, {"statistics": "running"}, {"attention": "se", "focal_gamma": 2.0}]
)
def test_learns_four_volumes_by_heart(trainer: MakeTrainer, options: dict[str, Any]) -> None:
    task = small(learning_rate=1e-3, weight_decay=0.0, **options)
    run = trainer(max_epochs=25, check_val_every_n_epoch=25)
    run.fit(task, datamodule=TinyVolumesDataModule(4, batch_size=4))
    assert run.callback_metrics["train_loss"] < 0.05
    assert run.callback_metrics["train_accuracy"] == 1


@pytest.mark.slow
def test_csrnet_learns_from_its_published_beginning(trainer: MakeTrainer) -> None:
    """Whose features begin at a ten-thousandth."""
    task = small(backbone="csrnet", slice_size=32, learning_rate=1e-4, weight_decay=0.0)
    run = trainer(max_epochs=40, check_val_every_n_epoch=40)
    run.fit(task, datamodule=TinyVolumesDataModule(4, batch_size=4))
    assert run.callback_metrics["train_loss"] < 0.1
