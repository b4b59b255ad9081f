"""Loss scale, skipped steps and the share of low precision, as they are logged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from covidct.callbacks import NonFiniteGuard, PrecisionMonitor
from tests.callbacks.test_non_finite_guard import Poison

if TYPE_CHECKING:
    from covidct.datamodules import CTVolumeDataModule
    from tests.callbacks.test_non_finite_guard import MakeTask, MakeTrainer


@pytest.mark.parametrize(("precision", "low"), [("32-true", False), ("bf16-mixed", True)])
def test_the_share_of_low_precision(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, precision: str, low: bool
) -> None:
    task = make_task()
    trainer = make_trainer(callbacks=[PrecisionMonitor()], precision=precision, limit_val_batches=0)
    trainer.fit(task, datamodule=data)
    found = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("precision_")}
    assert set(found) == {
        f"precision_{n}" for n in ("loss_scale", "skipped_steps", "non_finite_steps", "autocast_share")
    }
    assert found["precision_loss_scale"] == 1
    assert found["precision_skipped_steps"] == found["precision_non_finite_steps"] == 0
    assert (found["precision_autocast_share"] > 0.3) is low
    assert (found["precision_autocast_share"] == 0) is not low
    assert not any(module._forward_hooks for module in task.modules())


def test_gradients_that_are_not_finite_are_told(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = PrecisionMonitor()
    trainer = make_trainer(callbacks=[Poison({0}, layer="model.head"), monitor], limit_val_batches=0, max_steps=1)
    trainer.fit(make_task(), datamodule=data)
    assert monitor.non_finite_steps == 1
    assert "gradients of model.head are not finite" in caplog.text
    assert "batch of" in caplog.text


def test_steps_that_the_guard_skips_are_counted_and_told_once(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    monitor, guard = PrecisionMonitor(), NonFiniteGuard(action="skip", keep_batch=False)
    trainer = make_trainer(callbacks=[Poison({0}, layer="model.head"), guard, monitor], limit_val_batches=0)
    trainer.fit(make_task(), datamodule=data)
    assert monitor.non_finite_steps == guard.skipped == 1
    assert caplog.text.count("not finite") == 1


def test_a_scale_that_falls_is_a_skipped_step() -> None:
    """The loss scaler halves its scale in a step that it leaves out (GradScaler's published rule)."""
    scales = iter([65536.0, 65536.0, 65536.0, 32768.0, 32768.0, 32768.0])
    scaler = SimpleNamespace(get_scale=lambda: next(scales))
    trainer: Any = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    monitor, module = PrecisionMonitor(), torch.nn.Linear(1, 1)
    counts = []
    for _ in range(3):
        monitor.on_train_batch_start(trainer, module, {}, 0)  # type: ignore[arg-type]
        monitor.on_train_batch_end(trainer, module, None, {}, 0)  # type: ignore[arg-type]
        counts.append(monitor.skipped_steps)
    assert counts == [0, 1, 1]
    other = PrecisionMonitor()
    other.load_state_dict(monitor.state_dict())
    assert other.skipped_steps == 1
