"""Phantoms of random kind: truth, determinism, and that they vary as widely as they say."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from covidct.errors import UsageError
from covidct.functional import segment_lungs
from covidct.phantom import VariedCT, simulate_varied_ct

SEEDS = range(8)
DETAIL = 0.45


@cache
def varied(seed: int) -> VariedCT:
    """A coarse scan, made once."""
    return simulate_varied_ct(seed, detail=DETAIL)


def litres(made: VariedCT, side: int) -> float:
    """Volume of one lung."""
    return float((made.lung_mask == side).sum() * np.prod(made.volume.spacing) / 1e6)


@pytest.mark.parametrize("seed", SEEDS)
def test_form_and_sides(seed: int) -> None:
    made = varied(seed)
    assert made.volume.array.dtype == np.int16
    assert made.volume.intensity == "hu"
    assert made.lung_mask.dtype == np.uint8
    assert made.lung_mask.shape == made.volume.shape
    assert set(np.unique(made.lung_mask)) == {0, 1, 2}
    assert made.volume.array.min() >= -1024
    right, left = (ndimage.center_of_mass(made.lung_mask == side)[2] for side in (1, 2))
    assert right < left, "the width axis runs to the patient's left"
    for side in (1, 2):
        labels, _ = ndimage.label(made.lung_mask == side)
        assert np.bincount(labels.ravel())[1:].max() > 0.97 * (made.lung_mask == side).sum(), "one piece"


def test_same_seed_same_bytes() -> None:
    again = simulate_varied_ct(3, detail=DETAIL)
    np.testing.assert_array_equal(again.volume.array, varied(3).volume.array)
    np.testing.assert_array_equal(again.lung_mask, varied(3).lung_mask)
    assert again.volume.spacing == varied(3).volume.spacing
    assert varied(4).volume.spacing != varied(3).volume.spacing


def test_scans_differ_in_every_respect() -> None:
    scans = [varied(seed) for seed in SEEDS]
    volumes = np.array([[litres(made, side) for side in (1, 2)] for made in scans])
    assert volumes.max() > 2 * volumes.min()
    assert (volumes[:, 1] / volumes[:, 0]).std() > 0.05
    lungs = [np.median(made.volume.array[made.lung_mask > 0]) for made in scans]
    assert np.ptp(lungs) > 80, "density of the lungs"
    steps = np.array([made.volume.spacing for made in scans]) * DETAIL
    assert (steps.max(axis=0) > 1.4 * steps.min(axis=0)).all(), "voxels"
    fields = [made.volume.shape[2] * made.volume.spacing[2] for made in scans]
    assert 250 < min(fields) < 350 < max(fields) < 490
    noise = [
        np.median(np.abs(np.diff(made.volume.array.astype(float), axis=2))[made.lung_mask[..., 1:] > 0])
        for made in scans
    ]
    assert max(noise) > 1.5 * min(noise)


def test_the_truth_is_that_of_an_independent_method() -> None:
    """Most scans are within reach of the classical mask, which knows nothing of the phantom."""
    dice = []
    for seed in SEEDS:
        made = varied(seed)
        found = segment_lungs(made.volume.array, made.volume.spacing)
        a, b = found > 0, made.lung_mask > 0
        dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        same = found[a & b] == made.lung_mask[a & b]
        assert not same.size or same.mean() > 0.95
    assert np.median(dice) > 0.9


def test_no_lung_lies_outside_the_reconstructed_circle() -> None:
    cut = 0
    for seed in SEEDS:
        made = varied(seed)
        outside = (made.volume.array == -1024).all(axis=0)
        assert not made.lung_mask[:, outside].any()
        cut += int(outside.any())
    assert 1 <= cut < len(SEEDS)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"seed": -1}, "seed"), ({"seed": True}, "seed"), ({"detail": 0}, "detail"), ({"detail": float("nan")}, "detail")],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=rf"^{word}=.*[.]$"):
        simulate_varied_ct(**{"seed": 0, **arguments})
