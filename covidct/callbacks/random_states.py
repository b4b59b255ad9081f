"""The states of the random number generators of all processes, as tensors that go into a checkpoint."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch import Tensor

__all__ = ("collect_random_states", "restore_random_states")


def collect_random_states(trainer: pl.Trainer) -> dict[str, Tensor]:
    """States of Python, numpy, torch and this process's CUDA device; all processes take part.

    Returns:
        Name of the generator to (processes, bytes or numbers), uint8 for torch's and float64 for the others, on the
        CPU. One row is a few kilobytes.
    """
    device = trainer.strategy.root_device
    return {
        name: trainer.strategy.all_gather(state.to(device)).reshape(trainer.world_size, -1).cpu()
        for name, state in _own_states(device).items()
    }


def restore_random_states(trainer: pl.Trainer, states: dict[str, Tensor]) -> None:
    """Go on with the random numbers where :func:`collect_random_states` was called.

    States of another number of processes, or of a device that is not there, are left: nobody's numbers would be theirs.
    """
    device = trainer.strategy.root_device
    own = _own_states(device)
    for name, rows in states.items():
        if name not in own or rows.shape != (trainer.world_size, len(own[name])):
            continue
        row = rows[trainer.global_rank].clone()  # torch takes no view for a state
        if name == "cuda":
            torch.cuda.set_rng_state(row, device)
        elif name == "torch":
            torch.set_rng_state(row)
        elif name == "numpy":
            _set_numpy(row)
        else:
            _set_python(row)


def _own_states(device: torch.device) -> dict[str, Tensor]:
    """States of this process, of one length on every process."""
    state: Any = np.random.get_state()  # noqa: NPY002  (the state of others' draws)
    _, keys, place, has_gauss, gauss = state
    version, numbers, following = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        # whole numbers below 2**53 are exact in float64
        "numpy": torch.tensor([*keys.tolist(), place, has_gauss, gauss], dtype=torch.float64),
        "python": torch.tensor(
            [version, *numbers, float("nan") if following is None else following], dtype=torch.float64
        ),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_numpy(row: Tensor) -> None:
    """Take up a state of numpy's generator."""
    *keys, place, has_gauss, gauss = row.tolist()
    state: Any = ("MT19937", np.array(keys, dtype=np.uint32), int(place), int(has_gauss), gauss)
    np.random.set_state(state)  # noqa: NPY002


def _set_python(row: Tensor) -> None:
    """Take up a state of Python's generator."""
    version, *numbers, following = row.tolist()
    random.setstate((int(version), tuple(int(n) for n in numbers), None if following != following else following))
