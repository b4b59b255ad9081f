"""Phantoms shared by the tests of this folder: a few small patients, each made once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from covidct.phantom import PhantomCT, simulate_ct

if TYPE_CHECKING:
    from covidct.phantom.ct import Diagnosis

SEEDS = range(4)
SMALL = (64, 80, 80)


@cache
def phantom(seed: int, diagnosis: Diagnosis = "normal", noise_hu: float = 0.0) -> PhantomCT:
    """A small CT phantom; noise-free unless asked."""
    return simulate_ct(seed, diagnosis=diagnosis, shape=SMALL, noise_hu=noise_hu)
