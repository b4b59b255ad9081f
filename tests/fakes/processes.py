"""Several processes that train or evaluate together over gloo, forked from one that has everything imported."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy

if TYPE_CHECKING:
    from collections.abc import Callable


WAIT = timedelta(seconds=60)
"""A process that waits longer for what the others have to say ends with an error: they hang. They need a second."""


def run_processes(function: Callable[..., None], world: int, *arguments: object, seconds: float = 120.0) -> list[int]:
    """Call ``function(world, rank, *arguments)`` in ``world`` processes that find one another.

    Returns:
        Their exit codes.

    Raises:
        TimeoutError: when they have not all ended in time; they are killed then.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(["covidct.cli.train", "torchmetrics.detection", "monai.losses"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = str(Path(__file__).parents[2])
    processes = [
        context.Process(target=_enter, args=(function, world, rank, port, root, arguments)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
    if late:
        raise TimeoutError(f"{len(late)} of {world} processes had not ended after {seconds} s")
    return [process.exitcode for process in processes]


def _enter(
    function: Callable[..., None], world: int, rank: int, port: int, root: str, arguments: tuple[object, ...]
) -> None:
    """What ``torchrun`` would set for Lightning, then the call."""
    os.chdir(root)
    if world > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    function(world, rank, *arguments)


def trainer(world: int, **changes: Any) -> pl.Trainer:  # noqa: ANN401
    """A quiet trainer on the processors of one of ``world`` processes."""
    arguments: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": world,
        "strategy": DDPStrategy(timeout=WAIT) if world > 1 else "auto",
        "logger": False,
        "max_epochs": 1,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        **changes,
    }
    return pl.Trainer(**arguments)
