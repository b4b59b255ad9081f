"""``save_task``: a file, and nothing else."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import torch

from covidct.tasks import SliceClassifierTask, load_task, save_task

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_nothing_is_said_and_lightnings_logger_stays_as_it_is(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.getLogger("pytorch_lightning")
    monkeypatch.setattr(logger, "propagate", True)  # so that what it says is caught
    monkeypatch.setattr("pytorch_lightning.trainer.setup.CUDAAccelerator.is_available", lambda: True)
    task = SliceClassifierTask(backbone="resnet18")
    before = (logger.level, logger.handlers[:], logger.filters[:], warnings.filters[:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_task(task, tmp_path / "model.ckpt")
    assert (logger.level, logger.handlers, logger.filters, warnings.filters) == before
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")
    state = load_task(tmp_path / "model.ckpt").state_dict()
    assert all(torch.equal(value, state[name]) for name, value in task.state_dict().items())
