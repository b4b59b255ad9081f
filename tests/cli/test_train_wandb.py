"""``covidct fit`` with wandb: a folder for each run, and an end of the run, also where the training fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from covidct.__main__ import main
from covidct.tasks import MaskedGAPResNetTask
from tests.cli.test_train import DATA, MODEL, TRAINER

if TYPE_CHECKING:
    from pathlib import Path


def test_each_run_has_its_folder_and_is_closed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wandb: Any = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVIDCT_CACHE", str(tmp_path_factory.getbasetemp() / "prepared"))
    runs = [MagicMock(id="first"), MagicMock(id="second")]
    begun = iter(runs)
    monkeypatch.setattr(wandb, "init", lambda **_: next(begun))
    arguments = [*MODEL, *DATA, "--data.size=32", *TRAINER, "--trainer.logger=covidct.callbacks.PrivateWandbLogger"]
    assert main(["fit", *arguments, "--ckpt_path=auto"]) == 0
    capsys.readouterr()
    runs[0].finish.assert_called_once_with(exit_code=0)
    folder = tmp_path / "lightning_logs" / "first"
    assert {file.name for file in folder.iterdir()} == {"checkpoints", "config.yaml"}

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(MaskedGAPResNetTask, "training_step", fail)
    assert main(["fit", *arguments, "--trainer.max_steps=2", "--ckpt_path=auto"]) == 70
    runs[1].finish.assert_called_once_with(exit_code=1)
    assert "checkpoint: lightning_logs/first/checkpoints/last.ckpt" in capsys.readouterr().out.splitlines()
