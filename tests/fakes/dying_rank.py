"""A process of a training that is killed."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytorch_lightning as pl


class DyingRank(pl.Callback):
    """Kills one process after a step, as the system does where memory runs out."""

    def __init__(self, *, rank: int = 1, step: int = 3) -> None:
        self.rank, self.step = rank, step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        if trainer.global_rank == self.rank and trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
