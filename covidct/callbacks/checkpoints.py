"""``Checkpoints``: the last state of a run and the best one, written so that a killed run goes on."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from covidct.callbacks.checkpoint_io import AtomicCheckpointIO, previous_path
from covidct.callbacks.plateau_steps import steps_due, take_steps
from covidct.callbacks.random_states import collect_random_states, restore_random_states
from covidct.callbacks.run_folder import own_run_folder, run_folder
from covidct.errors import CheckpointError, UsageError
from covidct.weights import load_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("Checkpoints", "find_checkpoint", "is_trial")

_LOGGER = logging.getLogger(__name__)
BEST, LAST = "best.ckpt", "last.ckpt"
FOLDER = "checkpoints"
"""Where they are in the folder of a run."""
RANDOM_KEY = "covidct_random_states"
"""Key of :func:`covidct.callbacks.random_states.collect_random_states` in checkpoints."""


class Checkpoints(Checkpoint):
    """Keeps ``last.ckpt``, from which training goes on, and ``best.ckpt``, which ``test`` and ``predict`` take.

    The last state is written after every epoch, and every ``save_every`` steps within one; the best one when the
    monitored score of a validation is better than all before. Lightning's ``ModelCheckpoint`` writes its last state
    only together with a best one, and forgets a score that was good in another folder.

    Files are written by :class:`AtomicCheckpointIO`, which is put into the trainer. A training that goes on from a
    checkpoint writes into the folder of that checkpoint; one that does not is refused a folder that holds the states
    of another, which would be lost. Checkpoints hold no paths.

    A killed training goes on as if nothing had happened, to the bit where the device computes alike: with the next
    batch of the epoch (of the loaders of :mod:`covidct.datamodules`) and, on as many processes as before, with the next
    random numbers of Python, numpy and torch, which dropout takes. ``train_`` scores of the epoch are those of what was
    left of it.

    Args:
        monitor: name of the logged score; None is the task's own (:attr:`covidct.tasks.BaseTask.monitor`).
        mode: ``"max"`` where more is better, ``"min"``; None is the task's own.
        save_every: steps of the optimizer after which the last state is written within an epoch; None waits for its
            end, which stands for its last step too. A killed training repeats at most so many steps.
        folder: where files go; None is ``checkpoints`` in the run's folder.

    Attributes:
        best_model_path: of the best state, empty while there is none.
        best_model_score: its score, None while there is none.
        last_model_path: of the last state, empty while there is none.

    Raises:
        UsageError: for an impossible argument, a score that no validation of the run logs, or a folder that holds
            another training.
    """

    def __init__(
        self,
        *,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        save_every: int | None = None,
        folder: str | None = None,
    ) -> None:
        """Check the arguments."""
        if mode not in (None, "min", "max") or (monitor is None) != (mode is None):
            raise UsageError(
                f"monitor={monitor!r} with mode={mode!r} is not usable: give a score and 'min' or 'max', or neither."
            )
        if save_every is not None and (type(save_every) is not int or save_every < 1):
            raise UsageError(f"save_every={save_every!r} must be a whole number of steps of at least 1, or null.")
        self.monitor, self.mode, self.save_every = monitor, mode, save_every
        self._given = Path(folder) if folder is not None else None
        self.folder: Path | None = None
        self.best_model_path = self.last_model_path = ""
        self.best_model_score: float | None = None
        self._saved_step = -1
        self._validated = self._goes_on = False
        self._random: dict[str, Tensor] | None = None
        self._due: dict[int, float] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the folder and the score."""
        if stage != "fit":
            return
        if type(trainer.strategy.checkpoint_io) is not AtomicCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        if self.monitor is None:
            self.monitor, self.mode = getattr(pl_module, "monitor", None) or (None, None)
        self.folder = self._given or run_folder(trainer) / FOLDER
        self._goes_on = False

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on in the folder of the checkpoint; Lightning tells its path only now."""
        if trainer.state.fn != "fit":
            return
        self._random = checkpoint.get(RANDOM_KEY)
        if trainer.ckpt_path:
            source = Path(trainer.ckpt_path).parent
            self.folder = self._given or source
            self._goes_on = self.folder.resolve() == source.resolve()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse the folder of another training; where weights are read later, so is this."""
        if not trainer.strategy.restore_checkpoint_after_setup:
            self.require_unused(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the random numbers to come, of all processes."""
        checkpoint[RANDOM_KEY] = collect_random_states(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A state that was just read needs no writing; what a killed process was writing is thrown away."""
        if trainer.strategy.restore_checkpoint_after_setup:
            self.require_unused(trainer)
        self._saved_step = trainer.global_step
        due, self._due = self._due, {}
        take_steps(trainer, due)
        if self._random is not None:
            restore_random_states(trainer, self._random)
        if trainer.is_global_zero and self.folder is not None and not is_trial(trainer):
            for leftover in self.folder.glob(".tmp-*"):
                shutil.rmtree(leftover, ignore_errors=True)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ANN401  (Lightning's hook)
        batch_idx: int,
    ) -> None:
        """In the middle of an epoch, what comes between the start and the batch drew no numbers before the kill."""
        states, self._random = self._random, None
        if states is not None and batch_idx > 0:
            restore_random_states(trainer, states)
            trainer.fit_loop.restarting = False  # else Lightning leaves out ReduceLROnPlateau at the end of the epoch

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401  (Lightning's hook)
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Write the last state every ``save_every`` steps.

        Not after the last step of an epoch: Lightning would go on from there without the validation.
        """
        step = trainer.global_step
        if trainer.is_last_batch:
            return
        if self.save_every and step % self.save_every == 0 and step != self._saved_step:
            self._save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge a validation within an epoch; that at its end waits for what the epoch's end adds to the state."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or is_trial(trainer):
            return
        self._validated = trainer.is_last_batch
        if not trainer.is_last_batch:
            self._keep_best(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the best state, if this is one, and the last."""
        if is_trial(trainer):
            return
        validated, self._validated = self._validated, False
        self._due = steps_due(trainer)
        if validated:
            self._keep_best(trainer)
        self._save_last(trainer)
        self._due = {}

    def require_unused(self, trainer: pl.Trainer) -> None:
        """Refuse a folder that holds the states of another training, which this one would replace.

        Args:
            trainer: that trains. Where its processes have met, all call this, and the disk of the first one counts.

        Raises:
            UsageError: when it does.
        """
        folder = self.folder or self._given or own_run_folder(trainer) / FOLDER
        files = [folder / BEST, folder / LAST]
        own = self._goes_on or self.last_model_path == str(folder / LAST) or is_trial(trainer)
        used = not own and any(file.exists() for file in files)
        if trainer.strategy.broadcast(used):
            raise UsageError(
                f"The folder {folder} holds the states of another training, which this one would replace: go on with "
                "that one (--ckpt_path=auto), move them away, or give this one another folder, as a logger does that "
                "numbers its runs."
            )

    def state_dict(self) -> dict[str, Any]:
        """The best score so far and what is still due; no paths, since a run may be moved."""
        return {"best": self.best_model_score, "monitor": self.monitor, "due": dict(self._due)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score, where it is one of the same kind and its file is beside the checkpoint."""
        self._due = state_dict.get("due", {})
        if state_dict["monitor"] != self.monitor or self.folder is None or not (self.folder / BEST).exists():
            return
        self.best_model_score, self.best_model_path = state_dict["best"], str(self.folder / BEST)

    def _keep_best(self, trainer: pl.Trainer) -> None:
        """Write the best state, if this is one."""
        if self.monitor is not None and self._better(trainer):
            self.best_model_path = self._write(trainer, BEST)

    def _better(self, trainer: pl.Trainer) -> bool:
        """Whether the score of this validation is the best one; the same on every process."""
        found = trainer.callback_metrics.get(str(self.monitor))
        if found is None:
            known = ", ".join(sorted(name for name in trainer.callback_metrics if name.startswith("val_")))
            raise UsageError(
                f"No validation of this run logs {self.monitor!r}, by which the best weights are chosen: set monitor "
                f"of Checkpoints to one of {known or 'none, since nothing is validated'}."
            )
        score = float(found)
        best = self.best_model_score
        better = not math.isnan(score) and (best is None or (score > best if self.mode == "max" else score < best))
        if trainer.strategy.broadcast(better):
            self.best_model_score = score
            return True
        return False

    def _save_last(self, trainer: pl.Trainer) -> None:
        """Write the last state."""
        if is_trial(trainer):
            return
        self._saved_step = trainer.global_step
        self.last_model_path = self._write(trainer, LAST)

    def _write(self, trainer: pl.Trainer, name: str) -> str:
        """Write a file of the run; all processes take part."""
        path = str((self.folder or Path(trainer.default_root_dir)) / name)
        trainer.save_checkpoint(path)
        return path


def is_trial(trainer: pl.Trainer) -> bool:
    """Whether the run is one of a few batches (``fast_dev_run``), which leaves no files."""
    return bool(vars(trainer).get("fast_dev_run"))


def find_checkpoint(*folders: Path, best: bool = False) -> Path | None:
    """The newest checkpoint below folders that can be read; one that cannot is passed over with a warning.

    Args:
        folders: of one run or of many.
        best: the best checkpoint of the newest run, if it has one, for ``test`` and ``predict``.

    Returns:
        The file; None when there is none.
    """
    whole = [
        file for folder in folders for file in folder.rglob("*.ckpt") if not _is_temporary(file.relative_to(folder))
    ]
    files = sorted(whole, key=lambda file: (file.stat().st_mtime_ns, file.name), reverse=True)
    if best and files:
        wanted = [files[0].with_name(BEST), previous_path(files[0].with_name(BEST))]
        files = [*(file for file in wanted if file.exists()), *files]
    for file in dict.fromkeys(files):
        try:
            load_checkpoint(file)
        except CheckpointError as error:
            _LOGGER.warning("passed over: %s", error)
        else:
            return file
    return None


def _is_temporary(path: Path) -> bool:
    """Whether a process was still writing the file, or the folder that it lies in."""
    return any(part.startswith(".tmp-") for part in path.parts)
