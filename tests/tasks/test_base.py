"""What ``BaseTask`` adds to Lightning: pre-processing record, fresh weights, recipe or given optimizer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torchvision import models as tv

from covidct.errors import CheckpointError, UsageError, WeightsError
from covidct.tasks import MaskedGAPResNetTask, load_task
from tests.fakes.volumes import PREPROCESSING, TinyVolumesDataModule, tiny_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl

    MakeTrainer = Callable[..., pl.Trainer]


def small(**changes: Any) -> MaskedGAPResNetTask:  # noqa: ANN401
    torch.manual_seed(0)
    return MaskedGAPResNetTask(**{"backbone": "resnet18", "slice_size": 48, **changes})


@pytest.fixture(scope="module")
def checkpoint(trainer: MakeTrainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a task that a data module trained."""
    run = trainer()
    run.fit(small(), datamodule=TinyVolumesDataModule())
    path = tmp_path_factory.mktemp("base") / "model.ckpt"
    run.save_checkpoint(path)
    return path


def test_other_preprocessing_than_the_checkpoints_is_refused(checkpoint: Path, trainer: MakeTrainer) -> None:
    other = TinyVolumesDataModule(preprocessing=replace(PREPROCESSING, window=(-1000.0, 400.0)))
    with pytest.raises(UsageError, match=r"window.*-1250.*-1000"):
        trainer().test(load_task(checkpoint), datamodule=other, verbose=False)
    for use in (trainer().validate, trainer().predict, trainer().fit):
        with pytest.raises(UsageError, match="window"):
            use(small(), datamodule=other, ckpt_path=checkpoint, weights_only=True)


def test_other_order_of_classes_is_refused(checkpoint: Path, trainer: MakeTrainer) -> None:
    swapped = TinyVolumesDataModule(preprocessing=replace(PREPROCESSING, classes=("covid", "non_covid")))
    with pytest.raises(UsageError, match="classes"):
        trainer().test(load_task(checkpoint), datamodule=swapped, verbose=False)


def test_other_number_of_classes_is_refused(trainer: MakeTrainer) -> None:
    three = TinyVolumesDataModule(preprocessing=replace(PREPROCESSING, classes=("normal", "cap", "covid")))
    with pytest.raises(UsageError, match=r"2 outputs.*normal, cap, covid.*num_classes=3"):
        trainer().fit(small(), datamodule=three)


def test_checkpoint_of_another_task_is_refused(checkpoint: Path) -> None:
    class OtherTask(MaskedGAPResNetTask):
        """Another task with the same network."""

    with pytest.raises(CheckpointError, match="MaskedGAPResNetTask, not to OtherTask"):
        OtherTask.load_from_checkpoint(checkpoint, weights_only=True)


def test_plain_loaders_leave_no_record_and_the_checkpoint_says_so(trainer: MakeTrainer, tmp_path: Path) -> None:
    run = trainer(limit_train_batches=1)
    run.fit(small(), TinyVolumesDataModule().train_dataloader())
    run.save_checkpoint(tmp_path / "m.ckpt")
    loaded = load_task(tmp_path / "m.ckpt")
    assert loaded.preprocessing is None
    assert loaded.class_names == ("non_covid", "covid")


def test_wanted_weights_are_fetched_at_the_start_of_a_fresh_fit(trainer: MakeTrainer, tmp_path: Path) -> None:
    published = tv.resnet18(weights=None)
    torch.save(published.state_dict(), tmp_path / "w.pth")
    task = small(weights=str(tmp_path / "w.pth"), learning_rate=0.0, weight_decay=0.0)
    assert not task.model.trunk.state_dict()["conv1.weight"].equal(published.conv1.weight)  # nothing in __init__
    run = trainer()
    run.fit(task, datamodule=TinyVolumesDataModule())
    assert task.model.trunk.state_dict()["conv1.weight"].equal(published.conv1.weight)
    run.save_checkpoint(tmp_path / "m.ckpt")

    (tmp_path / "w.pth").unlink()
    again = load_task(tmp_path / "m.ckpt")
    trainer().fit(again, datamodule=TinyVolumesDataModule())  # goes on from the checkpoint
    resumed = small(weights=str(tmp_path / "w.pth"), learning_rate=0.0, weight_decay=0.0)
    trainer(max_epochs=2).fit(
        resumed, datamodule=TinyVolumesDataModule(), ckpt_path=tmp_path / "m.ckpt", weights_only=True
    )
    trainer().test(small(weights=str(tmp_path / "w.pth")), datamodule=TinyVolumesDataModule(), verbose=False)


def test_weights_that_cannot_be_had_stop_the_fit(
    trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth"):
        trainer().fit(small(weights="IMAGENET1K_V1"), datamodule=TinyVolumesDataModule())


def test_given_optimizer_and_scheduler_replace_the_recipe(trainer: MakeTrainer, tmp_path: Path) -> None:
    task = small(
        optimizer=partial(torch.optim.SGD, lr=0.1),
        lr_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
    )
    run = trainer()
    run.fit(task, datamodule=TinyVolumesDataModule())
    (optimizer,) = run.optimizers
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert optimizer.param_groups[0]["weight_decay"] == 0
    run.save_checkpoint(tmp_path / "m.ckpt")
    assert not {"optimizer", "lr_scheduler"} & set(load_task(tmp_path / "m.ckpt").hparams)


def test_plateau_scheduler_watches_the_validation_loss(trainer: MakeTrainer) -> None:
    task = small(lr_scheduler=partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0))
    trainer().fit(task, datamodule=TinyVolumesDataModule())


def test_slice_mask_may_be_absent() -> None:
    task = small().eval()
    batch = tiny_batch(1)
    with torch.no_grad():
        expected = task(batch)
        del batch["slice_mask"]
        torch.testing.assert_close(task(batch), expected, rtol=0, atol=1e-5)
