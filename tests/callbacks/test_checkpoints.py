"""Last and best state of a run: what is written when, where it goes on, and what a damaged file leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
import pytorch_lightning as pl
import torch

from covidct.callbacks import AtomicCheckpointIO, Checkpoints, RunManifest, find_checkpoint
from covidct.errors import CheckpointError, UsageError
from covidct.tasks import MaskedGAPResNetTask, load_task
from covidct.weights import load_checkpoint
from tests.fakes.dropout_task import DropoutTask, slices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from covidct.datamodules import CTVolumeDataModule

    MakeTrainer = Callable[..., pl.Trainer]
    MakeTask = Callable[..., MaskedGAPResNetTask]


class Scores(pl.Callback):
    """Logs given scores in place of the task's, one a validation."""

    def __init__(self, values: list[float]) -> None:
        self.values = iter(values)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            pl_module.log("val_mine", torch.tensor(next(self.values)))


def fit(
    make_trainer: MakeTrainer,
    task: MaskedGAPResNetTask,
    data: CTVolumeDataModule,
    *callbacks: pl.Callback,
    ckpt_path: Path | None = None,
    **options: Any,  # noqa: ANN401
) -> pl.Trainer:
    trainer = make_trainer(enable_checkpointing=True, callbacks=list(callbacks), **options)
    trainer.fit(task, datamodule=data, ckpt_path=ckpt_path)
    return trainer


def epoch_of(path: Path) -> int:
    return int(load_checkpoint(path)["epoch"])


@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 2)])
def test_best_and_last(
    make_trainer: MakeTrainer,
    make_task: MakeTask,
    data: CTVolumeDataModule,
    tmp_path: Path,
    mode: Literal["min", "max"],
    best: int,
) -> None:
    kept = Checkpoints(monitor="val_mine", mode=mode)
    trainer = fit(make_trainer, make_task(), data, Scores([0.5, 0.9, 0.1, float("nan")]), kept, max_epochs=4)
    folder = tmp_path / "checkpoints"
    assert {file.name for file in folder.iterdir()} == {
        "best.ckpt",
        "best.previous.ckpt",
        "last.ckpt",
        "last.previous.ckpt",
    }
    assert epoch_of(folder / "best.ckpt") == best
    assert epoch_of(folder / "last.ckpt") == 3
    assert epoch_of(folder / "last.previous.ckpt") == 2
    assert trainer.checkpoint_callback is kept
    assert kept.best_model_path == str(folder / "best.ckpt")
    (tested,) = trainer.test(datamodule=data, ckpt_path="best", verbose=False)
    assert "test_loss" in tested
    assert str(tmp_path) not in str(load_checkpoint(folder / "last.ckpt")["callbacks"]), "a run may be moved"


def test_a_validation_within_an_epoch_can_be_the_best(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    kept = Checkpoints(monitor="val_mine", mode="max")
    scores = Scores([0.3, 0.9, 0.1, 0.5, 0.2, 0.4])
    fit(make_trainer, make_task(), data, scores, kept, max_epochs=2, val_check_interval=1)
    assert kept.best_model_score == pytest.approx(0.9)
    assert load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["global_step"] == 2
    assert load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 6


def test_the_task_names_its_score(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    kept = Checkpoints()
    fit(make_trainer, make_task(), data, kept, max_epochs=1)
    assert (kept.monitor, kept.mode) == ("val_auroc", "max")
    assert isinstance(load_task(tmp_path / "checkpoints" / "last.ckpt"), MaskedGAPResNetTask)


def test_a_score_that_nobody_logs_is_named(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule
) -> None:
    with pytest.raises(UsageError, match=r"logs 'val_dice'.* val_auroc"):
        fit(make_trainer, make_task(), data, Checkpoints(monitor="val_dice", mode="max"))


def test_a_training_goes_on_in_its_folder_and_knows_its_best(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    first, folder = Scores([0.5, 0.9]), tmp_path / "run" / "checkpoints"
    fit(
        make_trainer,
        make_task(),
        data,
        first,
        Checkpoints(monitor="val_mine", mode="max", folder=str(folder)),
        max_epochs=2,
    )
    moved = tmp_path / "moved"
    folder.rename(moved)
    later = Checkpoints(monitor="val_mine", mode="max")
    scores = Scores([0.0, 0.0, 0.7, 0.8])
    fit(make_trainer, make_task(), data, scores, later, max_epochs=4, ckpt_path=moved / "last.ckpt")
    assert epoch_of(moved / "best.ckpt") == 1, "0.9 before is better than 0.8 now"
    assert epoch_of(moved / "last.ckpt") == 3
    assert later.best_model_score == pytest.approx(0.9)


def test_a_fresh_training_replaces_no_other(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    own = Checkpoints()
    trainer = fit(make_trainer, make_task(), data, RunManifest(), own, max_epochs=1)
    files = {name: (tmp_path / name).read_bytes() for name in ("checkpoints/last.ckpt", "run.json")}
    with pytest.raises(UsageError, match=r"checkpoints holds the states of another training"):
        fit(make_trainer, make_task(), data, RunManifest(), Checkpoints(), max_epochs=1)
    elsewhere = tmp_path / "elsewhere.ckpt"
    elsewhere.write_bytes(files["checkpoints/last.ckpt"])
    given = Checkpoints(folder=str(tmp_path / "checkpoints"))
    with pytest.raises(UsageError, match=r"another training"):  # one that began elsewhere is another one too
        fit(make_trainer, make_task(), data, given, max_epochs=2, ckpt_path=elsewhere)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    trainer.fit_loop.max_epochs = 2
    trainer.fit(trainer.lightning_module, datamodule=data)  # its own files it may replace
    assert epoch_of(tmp_path / "checkpoints" / "last.ckpt") == 1


def test_the_last_state_is_written_within_an_epoch_too(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int]] = []
    save = AtomicCheckpointIO.save_checkpoint

    def note(self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: str, storage_options: None = None) -> None:
        written.append((path.rsplit("/", 1)[-1], int(checkpoint["global_step"])))
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", note)
    fit(make_trainer, make_task(), data, Checkpoints(save_every=2), max_epochs=1, limit_val_batches=0)
    assert written == [("last.ckpt", 2), ("last.ckpt", 3)]


class Stop(Exception):  # noqa: N818
    """A power failure."""


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"state_dict": {}, "hyper_parameters": {}, "covidct": {"task": "x"}}
    path = tmp_path / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({**record, "epoch": 1}, path)

    def cut(_: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut)
        with pytest.raises(Stop):
            writer.save_checkpoint({**record, "epoch": 2}, path)
    assert writer.load_checkpoint(path)["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    with pytest.raises(UsageError, match="storage_options"):
        writer.save_checkpoint(record, path, storage_options={})


def test_the_newest_that_can_be_read_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = {"state_dict": {"w": torch.arange(1000.0)}, "hyper_parameters": {}, "covidct": {"task": "x"}}
    writer = AtomicCheckpointIO()
    assert find_checkpoint(tmp_path) is None
    run = tmp_path / "run" / "checkpoints"
    for name, epoch in (("best", 0), ("last", 1), ("last", 2)):
        writer.save_checkpoint({**record, "epoch": epoch}, run / f"{name}.ckpt")
    assert find_checkpoint(tmp_path) == run / "last.ckpt"
    assert find_checkpoint(tmp_path, best=True) == run / "best.ckpt"
    (run / "last.ckpt").write_bytes((run / "last.ckpt").read_bytes()[:2000])
    found = find_checkpoint(tmp_path)
    assert found == run / "last.previous.ckpt"
    assert epoch_of(found) == 1
    assert "passed over" in caplog.text
    with pytest.raises(CheckpointError):
        writer.load_checkpoint(run / "last.ckpt")


@pytest.mark.parametrize(
    "arguments", [{"monitor": "val_loss"}, {"monitor": "val_loss", "mode": "least"}, {"save_every": 0}]
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Checkpoints(**arguments)


def test_what_a_killed_process_was_writing_is_no_checkpoint(tmp_path: Path) -> None:
    record = {"state_dict": {}, "hyper_parameters": {}, "covidct": {"task": "x"}}
    writer = AtomicCheckpointIO()
    run = tmp_path / ".tmp-cohort" / "checkpoints"  # a folder that the user calls so
    writer.save_checkpoint(record, run / "last.ckpt")
    writer.save_checkpoint(record, run / ".tmp-abc" / "last.ckpt")  # whole, and newer, but not yet in its place
    writer.save_checkpoint(record, run / ".tmp-last.previous.ckpt")
    assert find_checkpoint(run) == run / "last.ckpt"


def test_a_plateau_is_counted_where_a_training_goes_on(make_trainer: MakeTrainer, cache: Path, tmp_path: Path) -> None:
    def state(folder: str, epochs: int) -> dict[str, Any]:
        last = tmp_path / folder / "last.ckpt"
        kept = Checkpoints(monitor="val_loss", mode="max", folder=str(last.parent))
        trainer = make_trainer(max_epochs=epochs, enable_checkpointing=True, callbacks=[kept])
        torch.manual_seed(0)
        trainer.fit(DropoutTask(), datamodule=slices(cache, 6), ckpt_path=last if last.exists() else None)
        found = load_checkpoint(last)
        return {"plateau": found["lr_schedulers"], "due": found["callbacks"][kept.state_key]["due"]}

    whole = state("whole", 4)
    assert [state("parts", epochs) for epochs in (1, 2, 3, 4)][-1] == whole
    assert whole["plateau"][0]["last_epoch"] == 3, "of three epochs; the fourth is due"
    assert set(whole["due"]) == {0}
