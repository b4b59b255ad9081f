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
