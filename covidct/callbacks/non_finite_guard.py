"""``NonFiniteGuard``: what happens when a loss or a gradient is no number."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.apply_func import move_data_to_device

from covidct.atomic import atomic_path
from covidct.callbacks.gradient_norm import gradient_norm
from covidct.callbacks.run_folder import run_folder
from covidct.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from covidct.sample import Batch

__all__ = ("NonFiniteGuard", "non_finite_modules")

_LOGGER = logging.getLogger(__name__)


class NonFiniteGuard(pl.Callback):
    """Stops a training, or skips the step, when the loss or a gradient is NaN or infinite; keeps the batch.

    Weights stay as they were before the step, after a skipped one buffers too (running means, queues). The message
    names the modules whose gradients are not finite, and the batch goes to
    ``non_finite/step-<number>-rank-<number>.pt`` in the run's folder: ``batch``, ``modules``, ``step`` and ``epoch``,
    tensors and plain data that load with ``weights_only=True``. Of several batches whose gradients are accumulated it
    is the first with a loss that is not finite, or the last where all losses are.

    With ``precision="16-mixed"`` a scaled gradient may overflow, which the loss scaler notices and answers by a smaller
    scale: there the loss alone is judged.

    Args:
        action: ``"stop"`` with an error, or ``"skip"`` the step and go on.
        most_skips: this many steps one after the other are skipped; the next is an error.
        keep_batch: write the batch.

    Attributes:
        skipped: steps skipped so far in this process.

    Raises:
        UsageError: for another action, or a number below 1.
    """

    def __init__(
        self, *, action: Literal["stop", "skip"] = "stop", most_skips: int = 10, keep_batch: bool = True
    ) -> None:
        """Check the arguments."""
        if action not in ("stop", "skip"):
            raise UsageError(f"action={action!r} is unknown: use 'stop' or 'skip'.")
        if type(most_skips) is not int or most_skips < 1:
            raise UsageError(f"most_skips={most_skips!r} must be a whole number of at least 1.")
        self.action, self.most_skips, self.keep_batch = action, most_skips, keep_batch
        self.skipped = 0
        self._in_a_row = 0
        self._batch: Batch = {}
        self._loss: Tensor | None = None
        self._suspicious = False
        self._buffers: dict[str, Tensor] | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember the batch, and what a forward pass would change for good."""
        if self._loss is not None and not self._suspicious:  # gradients are accumulated: the one before is not stepped
            self._suspicious = not bool(self._loss.isfinite().all())
        if not self._suspicious:
            self._batch, self._loss = batch, None
        if self.action == "skip" and self._buffers is None:
            self._buffers = {name: buffer.clone() for name, buffer in pl_module.named_buffers()}

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Remember the loss."""
        if not self._suspicious:
            self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Judge loss and gradients; all processes judge alike, since the gradients are theirs together.

        Raises:
            TrainingError: when the training is to stop.
        """
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        loss = torch.zeros(1, device=pl_module.device) if self._loss is None else self._loss.reshape(1)
        fine = loss.isfinite().all()
        norm = None if scaled else gradient_norm(trainer, pl_module)
        if norm is not None:
            fine = fine & norm.isfinite().to(fine.device)
        if trainer.world_size > 1:  # a loss may be finite here and not there
            fine = torch.as_tensor(trainer.strategy.reduce_boolean_decision(bool(fine), all=True))
        if bool(fine):
            self._in_a_row = 0
            self._forget()
            return
        modules = non_finite_modules(pl_module)
        text = self._describe(trainer, modules)
        if self.keep_batch:
            text += f" The batch is in {self._keep(trainer, modules)}."
        self._in_a_row += 1
        if self.action == "stop" or self._in_a_row > self.most_skips:
            tried = f" {self.most_skips} steps before it were skipped." if self.action == "skip" else ""
            raise TrainingError(
                f"{text}{tried} Lower the learning rate, use precision=32-true or bf16-mixed, or look at the batch; "
                "the last checkpoint is from before."
            )
        self.skipped += 1
        _LOGGER.warning("%s The step is skipped.", text)
        for parameter in pl_module.parameters():
            parameter.grad = None
        with torch.no_grad():
            for name, buffer in pl_module.named_buffers():
                if self._buffers is not None and name in self._buffers:
                    buffer.copy_(self._buffers[name])
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """How many steps were skipped."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state_dict["skipped"]

    def _forget(self) -> None:
        """Begin the next step."""
        self._batch, self._loss, self._suspicious, self._buffers = {}, None, False, None

    def _describe(self, trainer: pl.Trainer, modules: tuple[str, ...]) -> str:
        """What is wrong, where."""
        loss = float("nan") if self._loss is None else float(self._loss)
        what = f"the gradients of {_few(modules)} are" if modules else "the loss is"
        names = _few(tuple(str(name) for name in self._batch.get("id", ()))) if isinstance(self._batch, dict) else ""
        batch = f", batch of {names}" if names else ""
        return f"Step {trainer.global_step} (loss {loss:.4g}{batch}): {what} not finite."

    def _keep(self, trainer: pl.Trainer, modules: tuple[str, ...]) -> str:
        """Write the batch; its name below the run's folder."""
        root = run_folder(trainer)  # asks all processes
        name = f"non_finite/step-{trainer.global_step:06d}-rank-{trainer.global_rank}.pt"
        record = {"modules": list(modules), "step": trainer.global_step, "epoch": trainer.current_epoch}
        with atomic_path(root / name) as temporary:
            torch.save({**record, "batch": move_data_to_device(self._batch, "cpu")}, temporary)
        return name


def non_finite_modules(module: nn.Module) -> tuple[str, ...]:
    """Names of the modules that own a parameter whose gradient holds NaN or infinity, in the order of the network.

    Args:
        module: after a backward pass.
    """
    found: dict[str, None] = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            found[name.rpartition(".")[0] or name] = None
    return tuple(found)


def _few(names: Iterable[str], most: int = 4) -> str:
    """The first names, and how many more there are."""
    names = tuple(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
