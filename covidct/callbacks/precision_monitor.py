"""``PrecisionMonitor``: what mixed precision does to a training, in numbers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from covidct.callbacks.gradient_norm import gradient_norm
from covidct.callbacks.non_finite_guard import non_finite_modules

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.utils.hooks import RemovableHandle

    from covidct.sample import Batch

__all__ = ("PrecisionMonitor",)

_LOGGER = logging.getLogger(__name__)
_LOW = (torch.float16, torch.bfloat16)
_NAMED = 3  # warnings about gradients of one fit that name modules and samples; the others are counted


class PrecisionMonitor(pl.Callback):
    """Logs the loss scale, skipped steps, gradients that are not finite, and the share of low precision.

    Logged once an epoch: ``precision_loss_scale`` (of ``16-mixed``: the factor that losses are multiplied by, 1 without
    one), ``precision_skipped_steps`` (steps that the scaler left out because a scaled gradient had overflowed),
    ``precision_non_finite_steps`` (steps with a gradient that was NaN or infinite, before the scaler decided) and
    ``precision_autocast_share`` (share of the calls of the network's innermost modules whose output was float16 or
    bfloat16 in the first step of the epoch). The first such steps are told with the modules and the samples.

    Nothing is changed and nothing stopped: that is what :class:`covidct.callbacks.NonFiniteGuard` does.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.skipped_steps = self.non_finite_steps = 0
        self._scale = 1.0
        self._share: float | None = None
        self._calls = [0, 0]
        self._hooks: list[RemovableHandle] = []
        self._batch: Batch = {}

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the calls of the first step."""
        self._calls, self._share = [0, 0], None
        innermost = [module for module in pl_module.modules() if not any(True for _ in module.children())]
        self._hooks = [module.register_forward_hook(self._count) for module in innermost]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember the batch and the scale that its step begins with."""
        self._batch, self._scale = batch, _scale(trainer)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Look at the gradients."""
        norm = gradient_norm(trainer, pl_module)
        if norm is None or bool(norm.isfinite()):
            return
        self.non_finite_steps += 1
        modules = non_finite_modules(pl_module)  # none where a NonFiniteGuard has told them and skips the step
        if modules and self.non_finite_steps <= _NAMED:
            ids = self._batch.get("id", ()) if isinstance(self._batch, dict) else ()
            _LOGGER.warning(
                "Step %d: gradients of %s are not finite, %sbatch of %s.",
                trainer.global_step,
                ", ".join(modules[:_NAMED]),
                "last " if trainer.accumulate_grad_batches > 1 else "",
                ", ".join(map(str, ids)) or "samples without an id",
            )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401  (Lightning's hook)
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Stop counting calls; a scale that has fallen means that the step was left out."""
        self._batch = {}
        self.skipped_steps += _scale(trainer) < self._scale
        if self._share is None:
            self._remove_hooks()
            self._share = self._calls[1] / self._calls[0] if self._calls[0] else 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log; the same keys on every process."""
        self._remove_hooks()
        found = {
            "loss_scale": _scale(trainer),
            "skipped_steps": float(self.skipped_steps),
            "non_finite_steps": float(self.non_finite_steps),
            "autocast_share": self._share or 0.0,
        }
        pl_module.log_dict({f"precision_{name}": value for name, value in found.items()}, sync_dist=False)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no hooks behind."""
        self._remove_hooks()

    def state_dict(self) -> dict[str, int]:
        """The counts."""
        return {"skipped_steps": self.skipped_steps, "non_finite_steps": self.non_finite_steps}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on counting."""
        self.skipped_steps, self.non_finite_steps = state_dict["skipped_steps"], state_dict["non_finite_steps"]

    def _count(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        """Count a call whose output is a floating-point tensor."""
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            self._calls[0] += 1
            self._calls[1] += output.dtype in _LOW

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _scale(trainer: pl.Trainer) -> float:
    """The factor of the loss scaler; 1 without one."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    scale: float | Tensor = 1.0 if scaler is None else scaler.get_scale()
    return float(scale)
