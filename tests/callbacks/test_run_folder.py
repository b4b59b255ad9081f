"""The folder of a run: one each, whatever the logger."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from covidct.callbacks.run_folder import own_run_folder, run_folder


def trainer(logger: object) -> Any:  # noqa: ANN401
    return SimpleNamespace(logger=logger, default_root_dir="root")


@pytest.mark.parametrize(
    ("logger", "folder"),
    [
        (None, "root"),
        (CSVLogger("a", version=3), "a/lightning_logs/version_3"),
        (TensorBoardLogger("a", name="b", version="c"), "a/b/c"),
        (SimpleNamespace(save_dir="wandb-here", version="k3x"), "wandb-here/lightning_logs/k3x"),
        (SimpleNamespace(save_dir=None, version=7), "root/lightning_logs/version_7"),
        (SimpleNamespace(save_dir=None, version=None), "root/lightning_logs/run"),
    ],
)
def test_each_run_has_its_own(logger: object, folder: str) -> None:
    assert own_run_folder(trainer(logger)) == Path(folder)


def test_the_first_process_says_which() -> None:
    here = trainer(SimpleNamespace(save_dir=None, version=None))  # as on the other processes, where no run of wandb is
    here.strategy = SimpleNamespace(broadcast=lambda own: own.replace("run", "k3x"))
    assert run_folder(here) == Path("root/lightning_logs/k3x")
