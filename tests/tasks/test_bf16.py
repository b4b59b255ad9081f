"""Every task in bf16 on hard batches: none of its numbers is lost, and it is bf16 that ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch.utils.data import DataLoader

from covidct.functional import lesion_instances
from covidct.tasks import BaseTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from covidct.sample import Batch
    from tests.tasks.conftest import Case

    Make = Callable[..., BaseTask]
    MakeTrainer = Callable[..., pl.Trainer]

STEPS = 8
LONG = {"UNet2dTask": 200, "UNet3dTask": 200}
"""The smallest networks; ``python -m tests.benchmarks.bench_bf16`` takes 200 steps of all."""


class Watch(pl.Callback):
    """Notes dtypes inside the network, losses and gradients."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.lost: list[str] = []
        self.autocast: set[torch.dtype] = set()

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:  # noqa: ANN401
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                self.lost.append(f"{name} in step {trainer.global_step}")

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        self.losses.append(float(loss))
        assert loss.dtype == torch.float32

    def watch(self, module: torch.nn.Module) -> None:
        """Note the dtype of what convolutions and linear layers give."""
        for part in module.modules():
            if isinstance(part, torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.Linear):
                part.register_forward_hook(lambda _, __, output: self.autocast.add(output.dtype))


def hard_batches(data: Any, kind: str) -> list[Batch]:  # noqa: ANN401
    """Batches as they come, of one class, with empty masks, and of volumes of one slice."""
    alike, empty, thin = (next(iter(data.train_dataloader())) for _ in range(3))
    for key, value in alike.items():  # the second sample is the first once more, but for its keys
        if isinstance(value, torch.Tensor) and key not in ("scan", "subject"):
            value[1] = value[0]
        elif key == "instances":
            alike[key] = [value[0], value[0]]
    for key in ("lung_mask", "lesion_mask"):
        if key in empty:
            empty[key] = torch.zeros_like(empty[key])
    if "instances" in empty:
        nothing = torch.zeros(empty["image"].shape[-2:], dtype=torch.uint8)
        empty["instances"] = [lesion_instances(nothing) for _ in range(2)]
    batches = [*data.train_dataloader(), alike, empty]
    if kind == "ct_volume":
        batches.append(one_slice(thin))
    return batches


def one_slice(batch: Batch) -> Batch:
    """The second slice of each volume, which all of them have."""
    thin = dict(batch)
    for key, axis in {"image": 2, "lung_mask": 2, "lesion_mask": 2, "slice_mask": 1, "slice_label": 1}.items():
        if key in thin:
            thin[key] = thin[key].narrow(axis, 1, 1)
    return thin


def train_in_bf16(task: BaseTask, case: Case, trainer: MakeTrainer, steps: int) -> Watch:
    """Take steps on hard batches in turn."""
    watch, data = Watch(), case.data()
    batches = hard_batches(data, task.kind)
    order: Any = [batches[step % len(batches)] for step in range(steps)]
    data.train_dataloader = lambda: DataLoader(order, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[method-assign]
    watch.watch(task)
    run = trainer(precision="bf16-mixed", callbacks=[watch], limit_val_batches=0)
    assert type(run.precision_plugin) is MixedPrecision
    assert run.precision_plugin.precision == "bf16-mixed"
    assert run.precision_plugin.scaler is None
    run.fit(task, datamodule=data)
    return watch


@pytest.mark.slow
def test_hard_batches_in_bf16(name: str, make: Make, case: Case, trainer: MakeTrainer) -> None:
    task = make(pad=True) if name == "UNet3dTask" else make()  # else it refuses one slice, in words
    steps = LONG.get(name, STEPS)
    watch = train_in_bf16(task, case, trainer, steps)
    assert len(watch.losses) == steps
    assert torch.tensor(watch.losses).isfinite().all()
    assert watch.lost == []
    assert torch.bfloat16 in watch.autocast, "no layer ran in bf16"
    assert all(tensor.isfinite().all() for tensor in task.state_dict().values())


def test_half_precision_of_gpus_is_not_what_processors_run(trainer: MakeTrainer) -> None:
    with pytest.warns(UserWarning, match="bf16"):
        run = trainer(precision="16-mixed")
    assert run.precision_plugin.precision == "bf16-mixed"
