"""Trainings that are killed and go on, in forks of one process that has everything imported.

``python -m tests.callbacks.killed_trainings FOLDER`` writes ``FOLDER/found.json``, which the test looks at.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from covidct.callbacks import Checkpoints, find_checkpoint
from covidct.weights import load_checkpoint
from tests.fakes.dropout_task import DropoutTask, slices

EPOCHS = 3
KILLS = 20
TOUCHING = ("open", "os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "tempfile.mkdtemp")


class Seen(pl.Callback):
    """Notes each batch as soon as it comes, so that a kill loses none."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        os.write(self.file, (json.dumps([trainer.current_epoch, batch_idx, batch["id"]]) + "\n").encode())


def train(folder: Path) -> None:
    """Train from the newest checkpoint of a folder, or from the start, as ``--ckpt_path=auto`` does."""
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(0, verbose=False)
    newest = find_checkpoint(run)
    kept = Checkpoints(monitor="val_loss", mode="min", save_every=1)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run,
        num_sanity_val_steps=0,
        callbacks=[kept, Seen(folder / "seen")],
    )
    data = slices(folder / "cache", 8, batch_size=4, balanced_sampling=True)
    trainer.fit(DropoutTask(), datamodule=data, ckpt_path=newest)


def touches(folder: Path, kill_at: int | None) -> list[int]:
    """Count what this process does to files below a folder, and kill it before one of these."""
    count = [0]
    below = str(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in TOUCHING and arguments and str(arguments[0]).startswith(below):
            count[0] += 1
            if count[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


def forked(folder: Path, *, kill_at: int | None = None, after: float | None = None) -> tuple[bool, float, int]:
    """Train in a fork; whether it came to its end, how many seconds it took, and how often it touched files."""
    began = time.monotonic()
    child = os.fork()
    if not child:
        code = 1
        try:
            count = touches(folder, kill_at)
            train(folder)
            (folder / "touches").write_text(str(count[0]))
            code = 0
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)  # a process that has ended waits for its parent
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise RuntimeError(f"a training failed in {folder.name}")
    counted = int((folder / "touches").read_text()) if os.WIFEXITED(status) else 0
    return os.WIFEXITED(status), time.monotonic() - began, counted


def result(folder: Path) -> dict[str, Any]:
    """What a training has left: weights, optimizer and schedule of its last state, and the batches it saw."""
    path = folder / "run" / "checkpoints" / "last.ckpt"
    checkpoint = load_checkpoint(path)
    keys = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")
    seen = [json.loads(line) for line in (folder / "seen").read_text().splitlines()]
    return {
        "state": {key: checkpoint[key] for key in keys},
        "best": load_checkpoint(path.with_name("best.ckpt"))["state_dict"],
        "batches": {f"{epoch}/{index}": names for epoch, index, names in seen},
        "contradictions": len({json.dumps(line) for line in seen}) - len({(epoch, index) for epoch, index, _ in seen}),
        "leftovers": sum(1 for _ in (folder / "run").rglob(".tmp-*")),
        "steps": len(seen),
    }


def same(one: object, other: object) -> bool:
    """Whether two nested states are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.equal(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def killed(folder: Path, **kill: Any) -> Path:  # noqa: ANN401
    """Kill a training that begins in a new folder; earlier, if it was too quick."""
    for attempt in range(10):
        own = folder / str(attempt)
        own.mkdir(parents=True)
        ended, _, _ = forked(own, **kill)
        if not ended:
            return own
        kill = {name: value / 2 for name, value in kill.items()}
    raise RuntimeError("no training lasted long enough")


def main(folder: Path) -> None:
    """Kill at ten random moments and before ten random touches of files; let each training go on to its end."""
    torch.set_num_threads(1)
    whole = folder / "whole"
    train(whole)  # here too: what it imports, the forks need not
    (folder / "timed").mkdir()
    _, seconds, touched = forked(folder / "timed")
    expected = result(whole)
    rng = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for number in range(KILLS):
        moment, touch = float(rng.uniform(0, 0.9 * seconds)), int(rng.integers(1, touched))
        own = killed(folder / str(number), **({"after": moment} if number % 2 else {"kill_at": touch}))
        entries, files = (len(list(own.rglob(pattern))) for pattern in ("*.arrays", "*.ckpt"))
        resumed, _, _ = forked(own)
        left = result(own)
        equal = {key: same(left[key], expected[key]) for key in ("state", "best", "batches")}
        told = {key: left[key] for key in ("steps", "contradictions", "leftovers")}
        found.append({"entries": entries, "files": files, "resumed": resumed, **told, "same": equal})
    summary = {"seconds": seconds, "touches": touched, "batches": expected["batches"], "kills": found}
    (folder / "found.json").write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
