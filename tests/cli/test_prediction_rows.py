"""``predict_rows``: every batch once, on one process only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from covidct.cli.prediction_rows import PredictionRows, predict_rows
from covidct.errors import UsageError


class Doubling(pl.LightningModule):
    """Predicts twice its input."""

    def predict_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return 2 * batch[0]


class Sums(PredictionRows):
    """One row per batch."""

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: torch.Tensor, batch: object, *_: object
    ) -> None:
        self.rows.append({"sum": float(outputs.sum())})


def test_rows_of_every_batch() -> None:
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    loader: Any = DataLoader(TensorDataset(torch.arange(6.0)), batch_size=2)
    rows = predict_rows(trainer, Doubling(), loader, Sums(scored=False))  # type: ignore[arg-type]
    assert rows == [{"sum": 2.0}, {"sum": 10.0}, {"sum": 18.0}]


def test_several_processes_are_refused() -> None:
    trainer: Any = SimpleNamespace(world_size=2, callbacks=[])
    with pytest.raises(UsageError, match="devices=1"):
        predict_rows(trainer, Doubling(), [], Sums(scored=True))  # type: ignore[arg-type]
    assert trainer.callbacks == []
