"""The scale in checkpoints: of the weights beside it, the same on all processes, without an effect on the training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

import covidct
from covidct.callbacks import GradCAMScale
from covidct.errors import UsageError
from covidct.sample import collate
from covidct.tasks import load_task
from tests.explain.test_gradcam import reference_of_task
from tests.fakes.volumes import TinyVolumesDataModule

if TYPE_CHECKING:
    from collections.abc import Callable

    from covidct.datamodules import CTVolumeDataModule
    from covidct.tasks import MaskedGAPResNetTask

    MakeTask = Callable[..., MaskedGAPResNetTask]
    MakeTrainer = Callable[..., pl.Trainer]


def expected_scale(task: MaskedGAPResNetTask, data: CTVolumeDataModule) -> torch.Tensor:
    """Largest value over all training scans of each class, by the independent formula."""
    highest = torch.zeros(3)
    samples = data.samples("train")
    for index, record in enumerate(data.records("train")):
        batch = collate([samples[index]])
        highest[record.label] = max(
            highest[record.label].item(), float(reference_of_task(task, batch, record.label).max())
        )
    return highest


def test_every_checkpoint_has_the_scale_of_its_own_weights(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    writer = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_weights_only=True)
    trainer = make_trainer(max_epochs=2, callbacks=[writer, GradCAMScale()], enable_checkpointing=True)
    trainer.fit(make_task(), datamodule=data)
    scales = []
    for epoch in range(2):
        task = load_task(tmp_path / f"epoch={epoch}.ckpt")
        assert isinstance(task.cam_scale, torch.Tensor)
        scales.append(task.cam_scale)
        torch.testing.assert_close(task.cam_scale, expected_scale(task, data), rtol=1e-4, atol=1e-7)  # type: ignore[arg-type]
        assert bool((task.cam_scale > 0).any())
    assert not scales[0].equal(scales[1])


def test_the_training_does_not_notice(make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule) -> None:
    states: list[dict[str, torch.Tensor]] = []
    random = []
    for callbacks in ([], [GradCAMScale(scans_per_class=1)]):
        task = make_task()
        make_trainer(callbacks=callbacks, max_epochs=1).fit(task, datamodule=data)
        states.append(task.model.state_dict())
        random.append(torch.get_rng_state())
    assert random[0].equal(random[1])
    assert all(value.equal(states[1][name]) for name, value in states[0].items())


def test_epochs_without_validation_have_a_scale_too(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule
) -> None:
    task = make_task()
    make_trainer(callbacks=[GradCAMScale()], limit_val_batches=0).fit(task, datamodule=data)
    assert bool(task.cam_scale.any())


def test_training_on_forgets_the_scale(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule
) -> None:
    task = make_task()
    task.cam_scale.fill_(3.0)
    make_trainer().validate(task, datamodule=data, verbose=False)
    assert bool((task.cam_scale == 3).all())
    make_trainer(max_steps=1, limit_val_batches=0).fit(task, datamodule=data)
    assert not bool(task.cam_scale.any())


def test_validation_of_a_checkpoint_leaves_its_scale_alone(
    make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule
) -> None:
    task = make_task()
    task.cam_scale.fill_(3.0)
    make_trainer(callbacks=[GradCAMScale()]).validate(task, datamodule=data, verbose=False)
    assert bool((task.cam_scale == 3).all())


def test_half_precision(make_task: MakeTask, make_trainer: MakeTrainer, data: CTVolumeDataModule) -> None:
    task = make_task()
    make_trainer(callbacks=[GradCAMScale(scans_per_class=1)], precision="bf16-mixed").fit(task, datamodule=data)
    assert task.cam_scale.dtype == torch.float32
    assert bool(task.cam_scale.isfinite().all())


def test_scans_are_spread_over_the_training_part() -> None:
    wanted = np.arange(100) % 2 == 1
    assert GradCAMScale(scans_per_class=2)._spread(wanted) == [25, 75]


def test_plain_data_modules_get_a_hint(
    make_task: MakeTask, make_trainer: MakeTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(num_classes=2)
    make_trainer(callbacks=[GradCAMScale()]).fit(task, datamodule=TinyVolumesDataModule())
    assert "explain.calibrate" in caplog.text
    assert not bool(task.cam_scale.any())


def test_wrong_arguments_and_tasks() -> None:
    for number in (0, 1.5, True):
        with pytest.raises(UsageError, match="scans_per_class"):
            GradCAMScale(scans_per_class=number)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="explains classes"):
        GradCAMScale().setup(pl.Trainer(logger=False), pl.LightningModule(), "fit")


class Keep(pl.Callback):
    """Leaves each process's scale in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:  # noqa: ANN401
        if not trainer.sanity_checking:
            torch.save(pl_module.cam_scale, self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_agree(
    make_task: MakeTask,
    make_trainer: MakeTrainer,
    data: CTVolumeDataModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = str(Path(covidct.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    task = make_task(learning_rate=0.0)
    for part in task.model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 0.0  # the weights stay as they are, so that one process can check
    trainer = make_trainer(devices=2, strategy="ddp_spawn", callbacks=[GradCAMScale(), Keep(tmp_path)])
    trainer.fit(task, datamodule=data)
    data.setup("fit")
    scales = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert scales[0].equal(scales[1])
    torch.testing.assert_close(scales[0], expected_scale(task.eval(), data), rtol=1e-4, atol=1e-7)
