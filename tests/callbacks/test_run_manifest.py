"""What a run leaves behind about itself: all that makes it again, nothing that tells who or where."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.callbacks import Checkpoints, RunManifest
from covidct.callbacks.run_manifest import without_folders

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.datamodules import CTVolumeDataModule
    from tests.callbacks.test_non_finite_guard import MakeTask, MakeTrainer


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_everything_that_makes_a_run(
    make_trainer: MakeTrainer,
    make_task: MakeTask,
    data: CTVolumeDataModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    trainer = make_trainer(callbacks=[RunManifest(), Checkpoints()], enable_checkpointing=True)
    trainer.fit(make_task(), datamodule=data)
    record = read(tmp_path)
    assert (record["status"], record["seed"]) == ("done", 7)
    assert record["versions"]["torch"] == version("torch")
    assert record["task"]["name"] == "MaskedGAPResNetTask"
    assert record["task"]["learning_rate"] == 1e-3
    assert record["data"]["batch_size"] == 2
    assert record["data_fingerprint"] == data.fingerprint()
    assert record["preprocessing"]["size"] == 16
    assert record["machine"]["precision"] == "32-true"
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert record["checkpoints"]["last.ckpt"] == hashlib.sha256(last.read_bytes()).hexdigest()
    text = (tmp_path / "run.json").read_text()
    assert str(tmp_path) not in text
    assert socket.gethostname() not in text


class Fail(pl.Callback):
    """Fails; from then on, whatever asks the other processes or reads the data fails otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        self.monkeypatch, self.error = monkeypatch, error

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        def other(*_: object) -> None:
            raise AssertionError("asked where one process alone is")

        self.monkeypatch.setattr(type(trainer.strategy), "broadcast", other)
        self.monkeypatch.setattr(type(trainer), "log_dir", property(other))
        self.monkeypatch.setattr(type(trainer.datamodule), "fingerprint", other)  # type: ignore[attr-defined]
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("secret of Doe^Jane"), "failed: RuntimeError"), (SystemExit(), "failed: SystemExit")],
)
def test_a_run_that_fails_says_so_and_asks_nobody(
    make_trainer: MakeTrainer,
    make_task: MakeTask,
    data: CTVolumeDataModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: str,
) -> None:
    trainer = make_trainer(callbacks=[RunManifest(), Fail(monkeypatch, error)], limit_val_batches=0)
    with pytest.raises(type(error)):
        trainer.fit(make_task(), datamodule=data)
    assert read(tmp_path)["status"] == status
    assert read(tmp_path)["step"] == 1
    assert "Doe" not in (tmp_path / "run.json").read_text()


def test_what_fails_outside_a_training_is_no_failed_training(
    make_trainer: MakeTrainer, make_task: MakeTask, tmp_path: Path
) -> None:
    manifest = RunManifest()
    trainer = make_trainer(callbacks=[manifest])
    manifest.on_exception(trainer, make_task(), RuntimeError())
    assert not (tmp_path / "run.json").exists()


def test_the_optimizer_the_steps_and_the_data_are_told(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    task = make_task()
    optimizer = torch.optim.SGD(task.parameters(), lr=0.5, momentum=0.25)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7)
    task.configure_optimizers = lambda: ([optimizer], [schedule])  # type: ignore[method-assign,assignment,return-value]
    trainer = make_trainer(
        callbacks=[RunManifest()],
        limit_val_batches=0,
        max_steps=1,
        accumulate_grad_batches=3,
        gradient_clip_val=0.1,
    )
    trainer.fit(task, datamodule=data)
    record = read(tmp_path)
    (written,) = record["optimizers"]
    assert (written["name"], written["groups"][0]["lr"], written["groups"][0]["momentum"]) == ("SGD", 0.5, 0.25)
    assert (record["schedulers"][0]["name"], record["schedulers"][0]["step_size"]) == ("StepLR", 7)
    trained = record["trainer"]
    assert (trained["accumulate_grad_batches"], trained["gradient_clip_val"]) == (3, 0.1)
    assert (trained["strategy"], trained["deterministic"]) == ("SingleDeviceStrategy", False)
    assert (record["dataset"]["name"], record["dataset"]["count"]) == ("FakeVolumes", 12)
    assert record["data"]["samples"] == {"train": 6, "val": 3, "test": 3}
    assert record["augmentation"]["transform"][0]["transforms"][0]["prob"] == 0.5


def test_the_state_of_the_repository(
    make_trainer: MakeTrainer,
    make_task: MakeTask,
    data: CTVolumeDataModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    trainer = make_trainer(callbacks=[RunManifest()], limit_val_batches=0, max_steps=1)
    trainer.fit(make_task(), datamodule=data)
    assert read(tmp_path)["git"] is None
    (place / "a.txt").write_text("1")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "a.txt"], [*who, "commit", "-qm", "a"]):
        subprocess.run(["git", *words], check=True, capture_output=True)  # noqa: S607
    (place / "a.txt").write_text("2")
    trainer = make_trainer(callbacks=[RunManifest()], limit_val_batches=0, max_steps=1)
    trainer.fit(make_task(), datamodule=data)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True)  # noqa: S607
    assert read(tmp_path)["git"] == {"commit": head.stdout.strip(), "changed": True}


def test_paths_lose_their_folders() -> None:
    given = {"weights": "/home/doe/x.pth", "name": "resnet50", "n": 3, "low": [{"backbone": "/data/doe/y.pth"}]}
    wanted = {"weights": "x.pth", "name": "resnet50", "n": 3, "low": [{"backbone": "y.pth"}]}
    assert without_folders(given) == wanted
