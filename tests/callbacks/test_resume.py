"""A training that goes on ends like one that was left alone: on two processes, with workers, between epochs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.callbacks import Checkpoints
from tests.callbacks.killed_trainings import same
from tests.fakes.dropout_task import DropoutTask, slices
from tests.fakes.processes import run_processes, trainer


class Copy(pl.Callback):
    """Keeps the last state as it is when a batch begins, which is what a kill would leave there."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.place = (epoch, batch)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        if (trainer.current_epoch, batch_idx) == self.place and trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            shutil.copytree(folder / "whole", folder / "part")


def train(world: int, folder: Path, name: str, *own: pl.Callback, workers: int, ckpt: Path | None = None) -> None:
    """Two epochs, from a checkpoint or from the start."""
    pl.seed_everything(0, verbose=False)
    kept = Checkpoints(monitor="val_loss", mode="min", save_every=1, folder=str(folder / name))
    run = trainer(world, max_epochs=2, enable_checkpointing=True, default_root_dir=folder, callbacks=[kept, *own])
    data = slices(folder / "cache", 6, batch_size=4 // world, balanced_sampling=True, num_workers=workers)
    run.fit(DropoutTask(), datamodule=data, ckpt_path=ckpt)


def whole_and_rest(world: int, rank: int, folder: str, workers: int, stop: tuple[int, int]) -> None:
    """The whole training, then the rest of it from where it had come to."""
    train(world, Path(folder), "whole", Copy(*stop), workers=workers)
    train(world, Path(folder), "rest", workers=workers, ckpt=Path(folder, "part", "last.ckpt"))


def state(path: Path) -> dict[str, Any]:
    """What a training came to."""
    checkpoint = torch.load(path, weights_only=True)
    return {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")}


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("world", "workers", "stop"),
    [(2, 0, (0, 2)), (1, 1, (1, 0)), (1, 1, (0, 2))],
    ids=["two processes within an epoch", "a worker between epochs", "a worker within an epoch"],
)
def test_the_rest_of_a_training(tmp_path: Path, world: int, workers: int, stop: tuple[int, int]) -> None:
    assert run_processes(whole_and_rest, world, str(tmp_path), workers, stop, seconds=300) == [0] * world
    part, whole, rest = (state(tmp_path / name / "last.ckpt") for name in ("part", "whole", "rest"))
    assert part["global_step"] < whole["global_step"]
    assert same(rest, whole)
