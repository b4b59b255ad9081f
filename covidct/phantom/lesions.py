"""Lung lesions of the three classes, as soft fields on a coarse grid.

COVID-19: several ground-glass patches in both lungs, at the periphery, more below and behind, some with a consolidated
core. Community-acquired pneumonia: one consolidated part of one lobe with a ground-glass rim, open bronchi inside, and
sometimes an effusion. Normal: none. Sizes and densities overlap between the classes, place and number do less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidct.phantom.grid import CoarseField, Grid
from covidct.phantom.space import Space
from covidct.phantom.tubes import Tubes
from covidct.phantom.vessels import grow_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.phantom.anatomy import Thorax
    from covidct.phantom.grid import Floats, NoiseCube

COARSE = Grid((80, 76, 82), (4.0, 4.0, 4.0))
"""Grid of the lesion fields; fixed, so that lesions do not depend on the voxels of the scan."""

GGO_HU = (-730.0, -560.0)
"""Range of the mean density of a ground-glass patch."""
CONSOLIDATION_HU = 15.0
"""Density of consolidated lung; noise spreads it over about -50 .. 60 HU."""


@dataclass(frozen=True)
class Lesions:
    """Soft lesion fields.

    Attributes:
        ggo: share of ground glass, [0, 1].
        solid: share of consolidation, [0, 1].
        hu: density of the ground glass.
        effusion: -1 right, 1 left, 0 none: side of a pleural effusion.
        fluid: greatest thickness of the effusion in mm.
        bronchogram: open bronchi in body coordinates, visible where the lung around them is consolidated.
    """

    ggo: CoarseField | None = None
    solid: CoarseField | None = None
    hu: CoarseField | None = None
    effusion: int = 0
    fluid: float = 0.0
    bronchogram: Tubes | None = None


@dataclass(frozen=True)
class _Chest:
    """The lungs on the coarse grid: flat arrays of the lung voxels."""

    index: NDArray[np.intp]  # (N, 3) voxel (d, h, w)
    place: Floats  # (N, 3) body frame (x, y, z) mm
    depth: Floats  # (N,) mm below the pleura
    noise: Floats  # (N,) smooth noise


def draw_lesions(rng: np.random.Generator, thorax: Thorax, diagnosis: str, cube: NoiseCube) -> Lesions:
    """Draw the lesions of one case.

    Args:
        rng: own stream of randomness; the anatomy does not depend on it.
        thorax: the patient.
        diagnosis: ``"normal"``, ``"cap"`` or ``"covid"``.
        cube: smooth noise for the edges.
    """
    if diagnosis == "normal":
        return Lesions()
    chest = _chest(thorax, cube, float(rng.uniform(0, 40)))
    return _covid(rng, chest) if diagnosis == "covid" else _cap(rng, chest, thorax)


def _chest(thorax: Thorax, cube: NoiseCube, offset: float) -> _Chest:
    """Collect the lung voxels of the coarse grid."""
    space, whole = Space(thorax, COARSE), slice(0, COARSE.shape[0])
    lungs = space.lungs(whole, space.inside(thorax.outline.cavity, whole), space.above("floor", whole))
    index = np.argwhere(lungs.share > 0.5)
    d, h, w = index.T
    noise = 0.7 * cube.sample(COARSE.axes, 11.0, offset) + 0.45 * cube.sample(COARSE.axes, 5.0, offset + 9)
    return _Chest(
        index=index,
        place=np.stack([space.x[h, w], space.y[h, w], space.z[d]], axis=1),
        depth=lungs.depth[d, h, w],
        noise=noise[d, h, w],
    )


def _field(chest: _Chest, values: Floats, outside: float = 0.0) -> CoarseField:
    """Flat values back on the coarse grid, carried 1-2 voxels over the lung edge so that it is not eaten away."""
    full = np.full(COARSE.shape, np.float32(outside))
    weight = np.zeros(COARSE.shape, dtype=np.float32)
    full[tuple(chest.index.T)] = values
    weight[tuple(chest.index.T)] = 1
    for axis in (0, 1, 2, 0, 1, 2):
        lent = full * weight
        sums, counts = lent.copy(), weight.copy()
        for shift in (-1, 1):
            sums += np.roll(lent, shift, axis)
            counts += np.roll(weight, shift, axis)
        fresh = (weight == 0) & (counts > 0)
        full[fresh] = sums[fresh] / counts[fresh]
        weight[fresh] = 1
    return CoarseField(full, COARSE)


def _ramp(values: Floats, width: float) -> Floats:
    """Smooth step from 0 at ``values`` = 0 to 1 at ``width``."""
    t = np.clip(values / width, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _pick(rng: np.random.Generator, weights: Floats, count: int) -> NDArray[np.intp]:
    """Draw ``count`` indices with the given weights."""
    total = np.cumsum(weights, dtype=np.float64)
    return np.searchsorted(total, rng.uniform(0, total[-1], count))


def _covid(rng: np.random.Generator, chest: _Chest) -> Lesions:
    """Several ground-glass patches in both lungs, peripheral, lower and posterior."""
    x, y, z = chest.place.T
    low = np.clip((40 - z) / 120, 0.08, 1)
    back = np.clip(0.35 + y / 110, 0.12, 1)
    weights = np.exp(-chest.depth / 9) * low * back
    shape = np.full(len(x), -9.0, dtype=np.float32)
    level = np.full(len(x), np.mean(GGO_HU), dtype=np.float32)
    severity = rng.uniform(0.7, 1.35)  # ground glass in 4 to 17 % of the lungs: moderate disease
    for side in (-1, 1):
        own = weights * (np.sign(x) == side)
        for centre in _pick(rng, own, int(rng.integers(4, 7 + int(5 * severity)))):
            size = rng.uniform(18, 36) * severity**0.5 * rng.uniform(0.8, 1.25, 3)
            away = np.sqrt((((chest.place - chest.place[centre]) / size) ** 2).sum(axis=1))
            own_shape = (1 - away).astype(np.float32)
            level = np.where(own_shape > shape, rng.uniform(*GGO_HU), level)
            shape = np.maximum(shape, own_shape)
    shape += 0.38 * chest.noise - np.clip(chest.depth - 28, 0, None) / 40
    core = rng.uniform(0.55, 1.0)
    return Lesions(
        ggo=_field(chest, _ramp(shape + 0.05, 0.3)),
        solid=_field(chest, _ramp(shape - core, 0.35)),
        hu=_field(chest, level + 35 * chest.noise, float(np.mean(GGO_HU))),
    )


def fissure(x: Floats, y: Floats) -> Floats:
    """Height of the oblique fissure over (x, y), mm: high at the back, low at the front, sagging to the side."""
    return np.asarray(8 + 0.9 * (y + 4) - 0.0022 * x**2 + 5 * np.sin(x / 17))


def _cap(rng: np.random.Generator, chest: _Chest, thorax: Thorax) -> Lesions:
    """One consolidated part of one lobe with a rim of ground glass."""
    x, y, z = chest.place.T
    side = int(rng.choice([-1, 1]))
    lower = rng.random() < 0.6
    lobe = 1 / (1 + np.exp(np.clip((z - fissure(x, y)) / 1.5 * (1 if lower else -1), -30, 30)))
    lobe = lobe * (np.sign(x) == side)
    centre = _pick(rng, lobe * np.exp(-chest.depth / 22), 1)[0]
    size = 40 * rng.uniform(0.8, 1.25, 3)
    away = np.sqrt((((chest.place - chest.place[centre]) / size) ** 2).sum(axis=1))
    shape = 1 - away + 0.24 * chest.noise
    wanted = rng.uniform(50, 190) * 1000 / np.prod(COARSE.spacing)  # mm3 of consolidation, in voxels
    ranked = np.sort(np.where(lobe > 0.5, shape, -9))[::-1]
    edge = ranked[min(int(wanted), len(ranked) - 1)]
    solid = _ramp(shape - edge + 0.06, 0.12) * lobe
    rim = _ramp(shape - edge + rng.uniform(0.18, 0.4), 0.25) * lobe
    level = np.full(len(x), rng.uniform(*GGO_HU), dtype=np.float32)
    hilum = np.array([side * 40.0, 12.0, thorax.patient.carina - 30])
    served = np.resize(rng.permutation(chest.place[solid > 0.8]), (64, 3)).astype(float)
    wet = rng.random() < 0.35
    return Lesions(
        ggo=_field(chest, rim.astype(np.float32)),
        solid=_field(chest, solid.astype(np.float32)),
        hu=_field(chest, level + 35 * chest.noise, float(np.mean(GGO_HU))),
        effusion=side if wet else 0,
        fluid=float(rng.uniform(16, 32)) if wet else 0.0,
        bronchogram=Tubes.join(grow_tree(hilum, served, leaf_radius=1.0, levels=4, taper=3.5)),
    )


def sample_lesions(lesions: Lesions, axes: Sequence[Floats]) -> tuple[Floats, Floats, Floats] | None:
    """Shares of ground glass and consolidation and the density of the ground glass on a grid; None without lesions."""
    if lesions.ggo is None or lesions.solid is None or lesions.hu is None:
        return None
    return lesions.ggo.sample(axes), lesions.solid.sample(axes), lesions.hu.sample(axes)
