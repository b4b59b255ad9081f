"""Random numbers go on where a checkpoint was written; of other processes, and devices, nothing is taken."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import torch

from covidct.callbacks.random_states import collect_random_states, restore_random_states

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytorch_lightning as pl


def draws() -> list[float]:
    """Two of each generator: of the normal ones, the second is kept from the first."""
    return [
        *torch.rand(2).tolist(),
        *(np.random.normal() for _ in range(2)),  # noqa: NPY002
        *(random.gauss(0, 1) for _ in range(2)),
        random.random(),  # noqa: S311
    ]


def test_draws_go_on(make_trainer: Callable[..., pl.Trainer]) -> None:
    trainer = make_trainer()
    torch.manual_seed(0)
    for odd in (False, True):
        if odd:  # with one normal number kept
            np.random.normal()  # noqa: NPY002
            random.gauss(0, 1)
        states = collect_random_states(trainer)
        assert all(isinstance(state, torch.Tensor) and state.shape[0] == 1 for state in states.values())
        expected = draws()
        assert draws() != expected
        restore_random_states(trainer, states)
        assert draws() == expected


def test_states_of_others_are_left(make_trainer: Callable[..., pl.Trainer]) -> None:
    trainer = make_trainer()
    states = collect_random_states(trainer)
    two = {name: torch.cat([state, state]) for name, state in states.items()}
    first = draws()
    restore_random_states(trainer, {**two, "cuda": torch.zeros(1, 16, dtype=torch.uint8)})
    assert draws() != first
