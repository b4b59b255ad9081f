"""Rates against a count by hand, operations against a closed form, scaling against a reference file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from covidct.callbacks import ThroughputMonitor, matmul_rate
from covidct.callbacks import throughput_monitor as module
from covidct.errors import InputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.datamodules import CTVolumeDataModule
    from tests.callbacks.test_non_finite_guard import MakeTask, MakeTrainer


class Clock:
    """Time that goes on by one second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", Clock())
    monkeypatch.setattr(module, "matmul_rate", lambda *_, **__: 1e12)


@pytest.mark.usefixtures("clock")
def test_rates(make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path) -> None:
    single = tmp_path / "single.json"
    single.write_text(json.dumps({"processes": 1, "epochs": [{"samples_per_s": 4.0}]}))
    monitor = ThroughputMonitor(warm_up=1, reference=str(single))
    trainer = make_trainer(callbacks=[monitor], limit_val_batches=0)
    trainer.fit(make_task(), datamodule=data)
    record = json.loads((tmp_path / "throughput.json").read_text())
    (epoch,) = record["epochs"]
    # steps 2 and 3 count, two chests of 16^3 each; looks: start, end, [start, end], end of the epoch
    seconds = epoch["samples_per_s"] and 4 / epoch["samples_per_s"]
    assert seconds == pytest.approx(4.0)
    assert epoch["voxels_per_s"] == pytest.approx(4 * 16**3 / 4)
    assert epoch["data_wait"] == pytest.approx(1 / 4)
    assert epoch["gpu_memory_gib"] == 0
    assert epoch["scaling_efficiency"] == pytest.approx(1.0 / 4.0)
    assert epoch["flops_share"] == pytest.approx(epoch["model_tflops"])
    assert {f"throughput_{name}" for name in epoch} <= set(trainer.callback_metrics)
    assert (record["device"], record["processes"]) == ("cpu", 1)


class SlowValidation(pl.Callback):
    """Each validation takes 1000 s."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_validation_batch_start(self, *_: object) -> None:
        self.clock.now += 1000.0


@pytest.mark.parametrize("interval", [1.0, 0.34])
def test_validations_do_not_count(
    make_trainer: MakeTrainer,
    make_task: MakeTask,
    data: CTVolumeDataModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interval: float,
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "matmul_rate", lambda *_, **__: 1e12)
    callbacks = [ThroughputMonitor(warm_up=1), SlowValidation(clock)]
    trainer = make_trainer(callbacks=callbacks, val_check_interval=interval, num_sanity_val_steps=0)
    trainer.fit(make_task(), datamodule=data)
    (epoch,) = json.loads((tmp_path / "throughput.json").read_text())["epochs"]
    assert 4 / epoch["samples_per_s"] < 20


def test_a_trial_leaves_no_file(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule, tmp_path: Path
) -> None:
    make_trainer(callbacks=[ThroughputMonitor(warm_up=1)], fast_dev_run=3).fit(make_task(), datamodule=data)
    assert not list(tmp_path.rglob("throughput.json"))


def test_operations_of_a_step_are_those_of_the_network(
    make_trainer: MakeTrainer, make_task: MakeTask, data: CTVolumeDataModule
) -> None:
    """The linear head alone does 2 B F C operations forward, and twice that backward: the count is above that."""
    monitor = ThroughputMonitor(warm_up=1)
    trainer = make_trainer(callbacks=[monitor], limit_val_batches=0, max_steps=2)
    trainer.fit(make_task(), datamodule=data)
    assert monitor._flops > 6 * 2 * 512 * 3
    assert float(trainer.callback_metrics["throughput_model_tflops"]) > 0


def test_the_rate_of_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", Clock())
    monkeypatch.setitem(module._SIDES, "cpu", 8)
    assert matmul_rate(torch.device("cpu")) == pytest.approx(2 * 8**3 / 1.0)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"processes": 1, "epochs": []}', '{"processes": 2, "epochs": [{"samples_per_s": 1}]}']
)
def test_a_wrong_reference_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "throughput.json"
    path.write_text(text)
    with pytest.raises(InputError, match="one process"):
        ThroughputMonitor(reference=str(path))


@pytest.mark.parametrize("arguments", [{"warm_up": 0}, {"warm_up": 1.5}])
def test_impossible_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ThroughputMonitor(**arguments)
