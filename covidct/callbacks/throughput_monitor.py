"""``ThroughputMonitor``: how fast a training is, and what it waits for."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch.utils.flop_counter import FlopCounterMode

from covidct import __version__
from covidct.atomic import atomic_write_text
from covidct.callbacks.checkpoints import is_trial
from covidct.callbacks.run_folder import run_folder
from covidct.errors import InputError, UsageError

if TYPE_CHECKING:
    from covidct.sample import Batch

__all__ = ("ThroughputMonitor", "matmul_rate")

_LOGGER = logging.getLogger(__name__)
_SIDES = {
    "cpu": 1024,
    "cuda": 8192,
}  # of the matrices whose product is timed: large enough for the peak, under a second
_ROUNDS = 5


class ThroughputMonitor(pl.Callback):
    """Logs samples and voxels per second, the share of waiting for data, memory, and FLOP/s against the device's own.

    Logged once an epoch as ``throughput_<name>`` and written to ``throughput.json`` in the run's folder:

    * ``samples_per_s``, ``voxels_per_s``: of all processes together, from the start of the first counted step to the
      end of the last one, without validations. The first ``warm_up`` steps of a fit are left out. Padded slices count
      as voxels: they are loaded and carried.
    * ``data_wait``: share of that time between the end of a step and the start of the next, in which the loader is
      waited for (and a checkpoint written, where one is due within an epoch).
    * ``gpu_memory_gib``: the most that tensors took on this process's GPU; 0 on a CPU.
    * ``model_tflops``: floating-point operations of forward and backward pass per second and process, in 10^12, counted
      once by torch's ``FlopCounterMode`` in the first step.
    * ``flops_share``: of what a large matrix product reaches on the device, in the precision of the training, measured
      at the start (:func:`matmul_rate`).
    * ``scaling_efficiency``: samples per second and process against those of one process, from the
      ``throughput.json`` that is given as ``reference``; without it there is none.

    A device that works on while Python runs ahead (CUDA) is waited for once an epoch alone.

    Args:
        reference: ``throughput.json`` of a run with one process, of the same batch size per process.
        warm_up: steps left out at the start of a fit.

    Raises:
        UsageError: when ``warm_up`` is below 1: the first step is that in which operations are counted.
        InputError: when the reference cannot be read.
    """

    def __init__(self, *, reference: str | None = None, warm_up: int = 3) -> None:
        """Read the reference."""
        if type(warm_up) is not int or warm_up < 1:
            raise UsageError(f"warm_up={warm_up!r} must be a whole number of at least 1.")
        self.warm_up = warm_up
        self._single = None if reference is None else _single_rate(Path(reference))
        self._counter: FlopCounterMode | None = None
        self._flops = self._peak = 0.0
        self._seen = 0
        self._start = self._end = 0.0
        self._stopped: float | None = None
        self._waited = 0.0
        self._samples = self._voxels = self._steps = 0
        self._epochs: list[dict[str, float]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the device."""
        self._seen, self._epochs = 0, []
        self._peak = matmul_rate(pl_module.device, dtype=_dtype(trainer))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count anew."""
        self._samples = self._voxels = self._steps = 0
        self._waited = self._start = self._end = 0.0
        self._stopped = None
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """The wait is over."""
        now = time.perf_counter()
        if self._seen == 0 and self._flops == 0:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()  # type: ignore[no-untyped-call]
        if self._seen < self.warm_up:
            return
        if self._steps == 0:
            _wait_for(pl_module.device)
            self._start = time.perf_counter()
        elif self._stopped is not None:
            self._start += now - self._stopped
        else:
            self._waited += now - self._end
        self._stopped = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock of the training; it goes on with its next step."""
        if self._steps and not trainer.sanity_checking:
            _wait_for(pl_module.device)
            self._stopped = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401  (Lightning's hook)
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count the step."""
        self._close_counter()
        if self._seen >= self.warm_up:
            image = batch["image"] if "image" in batch else batch["views"]
            self._samples += len(image)
            self._voxels += image.numel()
            self._steps += 1
        self._seen += 1
        self._end = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log and write."""
        if not self._steps:
            return
        if self._stopped is None:
            _wait_for(pl_module.device)
            self._stopped = time.perf_counter()
        seconds = max(self._stopped - self._start, 1e-9)
        counts = torch.tensor([self._samples, self._voxels], dtype=torch.float64, device=pl_module.device)
        samples, voxels = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        own = self._flops * self._steps / seconds
        found = {
            "samples_per_s": samples / seconds,
            "voxels_per_s": voxels / seconds,
            "data_wait": self._waited / seconds,
            "gpu_memory_gib": _memory(pl_module.device),
            "model_tflops": own / 1e12,
            "flops_share": own / self._peak,
        }
        if self._single is not None:
            found["scaling_efficiency"] = found["samples_per_s"] / trainer.world_size / self._single
        pl_module.log_dict({f"throughput_{name}": value for name, value in found.items()}, sync_dist=False)
        self._epochs.append(found)
        folder = run_folder(trainer)  # asks all processes
        if trainer.is_global_zero and not is_trial(trainer):
            self._write(trainer, pl_module.device, folder)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop counting operations."""
        self._close_counter()

    def _close_counter(self) -> None:
        """Take what was counted in the first step."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._flops = float(self._counter.get_total_flops())
            self._counter = None

    def _write(self, trainer: pl.Trainer, device: torch.device, folder: Path) -> None:
        """The epochs so far as JSON."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        record = {
            "kind": "covidct.throughput",
            "covidct": __version__,
            "device": name,
            "processes": trainer.world_size,
            "precision": str(trainer.precision),
            "matmul_tflops": self._peak / 1e12,
            "epochs": self._epochs,
        }
        atomic_write_text(folder / "throughput.json", json.dumps(record, indent=1) + "\n")


def matmul_rate(device: torch.device, *, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations per second of a large matrix product: what the device can do, measured.

    Args:
        device: the device.
        dtype: of the matrices.

    Returns:
        2 n^3 operations over the shortest of five times.
    """
    side = _SIDES.get(device.type, _SIDES["cpu"])
    a = torch.ones(side, side, device=device, dtype=dtype)
    times = []
    for _ in range(_ROUNDS):
        _wait_for(device)
        start = time.perf_counter()
        a @ a
        _wait_for(device)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def _wait_for(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device) -> float:
    """The most that tensors took on a GPU in this epoch, GiB."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def _dtype(trainer: pl.Trainer) -> torch.dtype:
    """What matrix products of the training are made in."""
    precision = str(trainer.precision)
    if precision.startswith("bf16"):
        return torch.bfloat16
    return torch.float16 if precision.startswith("16") else torch.float32


def _single_rate(path: Path) -> float:
    """Samples per second of the last epoch of a run with one process."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        processes, rate = record["processes"], float(record["epochs"][-1]["samples_per_s"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{path.name} is no throughput.json of a finished epoch ({error}): give the one of a run with one process."
        ) from error
    if processes != 1:
        raise InputError(f"{path.name} is of {processes} processes: give the one of a run with one process.")
    return rate
