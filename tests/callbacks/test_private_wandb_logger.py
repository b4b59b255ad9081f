"""Runs of wandb are closed, whoever began them and however they ended."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from covidct.callbacks import PrivateWandbLogger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """What wandb begins here; no process is started."""
    wandb: Any = pytest.importorskip("wandb")
    began = MagicMock()
    monkeypatch.setattr(wandb, "init", lambda **_: began)
    return began


@pytest.mark.parametrize(("statuses", "code"), [(["success"], 0), (["success", "failed"], 1), ([], 0)])
def test_a_run_is_closed_once(
    run: MagicMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statuses: list[str], code: int
) -> None:
    at_end: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", at_end.append)
    logger = PrivateWandbLogger(save_dir=str(tmp_path))
    logger.log_metrics({"val_auroc": 0.5}, step=1)
    for status in statuses:
        logger.finalize(status)
    run.finish.assert_not_called()  # a test may follow the training
    assert at_end == [logger.close]
    logger.close()
    logger.close()
    run.finish.assert_called_once_with(exit_code=code)


def test_one_that_never_began_needs_no_end(run: MagicMock, tmp_path: Path) -> None:
    PrivateWandbLogger(save_dir=str(tmp_path)).close()
    run.finish.assert_not_called()


def test_tables_are_pages_and_no_artifacts(run: MagicMock, tmp_path: Path) -> None:
    pandas: Any = pytest.importorskip("pandas")
    columns = ["class", "<f1>"]
    rows: list[list[Any]] = [["covid", 0.123456], ["normal", None]]
    logger = PrivateWandbLogger(save_dir=str(tmp_path))
    logger.log_table("val/classes", columns=columns, data=rows, step=3)
    logger.log_table("val/classes", dataframe=pandas.DataFrame({"a": [1]}), step=4)
    (first,), (second,) = (call.args for call in run.log.call_args_list)
    cells = "<tr><td>covid</td><td>0.1235</td></tr><tr><td>normal</td><td></td></tr>"
    assert first["val/classes"].html == f"<table><tr><th>class</th><th>&lt;f1&gt;</th></tr>{cells}</table>"
    assert second["val/classes"].html == "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>"
    assert first["trainer/global_step"] == 3
