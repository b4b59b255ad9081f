"""``load_task``: the right class from the checkpoint alone, and nothing else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pytorch_lightning.cli import LightningCLI

from covidct.errors import CheckpointError
from covidct.tasks import BaseTask, MaskedGAPResNetTask, load_task
from covidct.weights import RECORD_KEY
from tests.fakes.volumes import TinyVolumesDataModule, tiny_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl


@pytest.fixture
def checkpoint(trainer: Callable[..., pl.Trainer], tmp_path: Path) -> Path:
    run = trainer(fast_dev_run=False, limit_train_batches=1, limit_val_batches=0)
    run.fit(MaskedGAPResNetTask(backbone="resnet18", slice_size=48), datamodule=TinyVolumesDataModule())
    run.save_checkpoint(tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


class PlainVolumes(TinyVolumesDataModule):
    """With plain arguments only, as a command line needs them."""

    def __init__(self, count: int = 4) -> None:
        super().__init__(count)


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite a checkpoint."""
    content = torch.load(path, weights_only=True)
    edit(content)
    torch.save(content, path)


def test_unknown_task_is_refused_and_nothing_is_imported(checkpoint: Path) -> None:
    change(checkpoint, lambda c: c[RECORD_KEY].update(task="antigravity.Task"))
    with pytest.raises(CheckpointError, match=r"antigravity\.Task.*MaskedGAPResNetTask"):
        load_task(checkpoint)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("kind", ["BaseTask", "ClassificationTask", "load_task", "None"])
def test_what_is_no_concrete_task_is_refused(checkpoint: Path, kind: str) -> None:
    change(checkpoint, lambda c: c[RECORD_KEY].update(task=kind))
    with pytest.raises(CheckpointError, match="unknown here"):
        load_task(checkpoint)


def test_lightnings_instantiator_is_not_used(checkpoint: Path) -> None:
    change(checkpoint, lambda c: c["hyper_parameters"].update(_instantiator="os.system", _class_path="antigravity.X"))
    assert isinstance(load_task(checkpoint), MaskedGAPResNetTask)
    assert "antigravity" not in sys.modules


def test_hyper_parameters_of_another_release_are_refused(checkpoint: Path) -> None:
    change(checkpoint, lambda c: c["hyper_parameters"].update(flavour="mint"))
    with pytest.raises(CheckpointError, match="flavour"):
        load_task(checkpoint)


def test_damaged_hyper_parameters_are_refused(checkpoint: Path) -> None:
    change(checkpoint, lambda c: c["hyper_parameters"].update(backbone="resnet7"))
    with pytest.raises(CheckpointError, match="resnet7"):
        load_task(checkpoint)


@pytest.mark.parametrize("damage", ["x", 3, {}, {"version": 1}, [None]])
def test_damaged_record_of_the_preprocessing_is_refused(checkpoint: Path, damage: object) -> None:
    change(checkpoint, lambda c: c[RECORD_KEY].update(preprocessing=damage))
    with pytest.raises(CheckpointError, match="pre-processing record"):
        load_task(checkpoint)
    change(checkpoint, lambda c: c[RECORD_KEY].pop("preprocessing"))
    with pytest.raises(CheckpointError, match="pre-processing record"):
        load_task(checkpoint)


def test_weights_of_another_size_are_refused(checkpoint: Path) -> None:
    change(checkpoint, lambda c: c["hyper_parameters"].update(backbone="resnet34"))
    with pytest.raises(CheckpointError, match="missing"):
        load_task(checkpoint)


def test_own_task_is_found_once_it_is_imported(trainer: Callable[..., pl.Trainer], tmp_path: Path) -> None:
    class OwnTask(MaskedGAPResNetTask):
        """A user's own task."""

    run = trainer(limit_train_batches=1, limit_val_batches=0)
    run.fit(OwnTask(backbone="resnet18", slice_size=48), datamodule=TinyVolumesDataModule())
    run.save_checkpoint(tmp_path / "own.ckpt")
    assert type(load_task(tmp_path / "own.ckpt")) is OwnTask


def test_checkpoint_of_the_command_line_loads_too(tmp_path: Path) -> None:
    cli = LightningCLI(
        BaseTask,
        PlainVolumes,
        subclass_mode_model=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        run=False,
        seed_everything_default=0,
        args=[
            "--model=covidct.tasks.MaskedGAPResNetTask",
            "--model.backbone=resnet18",
            "--model.slice_size=48",
            "--model.optimizer=torch.optim.SGD",
            "--model.optimizer.lr=0.01",
            "--trainer.accelerator=cpu",
            "--trainer.devices=1",
            "--trainer.max_epochs=1",
            "--trainer.logger=false",
            "--trainer.enable_progress_bar=false",
            f"--trainer.default_root_dir={tmp_path}",
        ],
    )
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    assert isinstance(cli.trainer.optimizers[0], torch.optim.SGD)
    cli.trainer.save_checkpoint(tmp_path / "cli.ckpt")
    loaded = load_task(tmp_path / "cli.ckpt")
    cli.model.eval()
    with torch.no_grad():
        assert loaded(tiny_batch()).equal(cli.model(tiny_batch()))
