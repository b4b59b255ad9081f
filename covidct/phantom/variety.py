"""Chest CT phantoms of every kind, to train lung segmentation on: domain randomisation.

A network that has only seen phantoms must find real scans to be one more variation. So everything that tells scans
apart but lungs from the rest is drawn from ranges wider than those of real scans: body, breath, raised diaphragms,
gas below them, disease, contrast agent, posture, bed, field of view, scan range, voxels, kernel, noise, calibration.
All ranges are recommendations; they were not fitted to scans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from covidct.errors import UsageError
from covidct.labels import CLASSES
from covidct.phantom.anatomy import build_thorax
from covidct.phantom.grid import CoarseField, Grid, NoiseCube
from covidct.phantom.lesions import draw_lesions
from covidct.phantom.noise import KernelNoise
from covidct.phantom.outline import Ellipsoid
from covidct.phantom.patient import Patient
from covidct.phantom.render import AIR, Extras, Renderer
from covidct.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.phantom.anatomy import Thorax
    from covidct.phantom.grid import Floats
    from covidct.phantom.lesions import Lesions

VARIETY = 2.0
"""Body measures spread twice as far as those of :func:`covidct.phantom.simulate_ct`."""

_WARP = Grid((14, 14, 14), (36.0, 36.0, 36.0))  # control points of the deformation
_PADDING = -1024.0  # HU outside the reconstructed circle


@dataclass(frozen=True)
class VariedCT:
    """A simulated chest CT of random kind.

    Attributes:
        volume: int16 HU on a canonical LPS grid.
        lung_mask: (D, H, W) uint8, 1 right and 2 left lung, by the rules of :class:`covidct.phantom.PhantomCT`: lesions
            and vessels inside the lung surface belong to the lung, airways outside it and effusions do not.
    """

    volume: Volume
    lung_mask: NDArray[np.uint8]


def simulate_varied_ct(seed: int, *, detail: float = 1.0) -> VariedCT:
    """Simulate one scan of random kind; everything follows from ``seed``.

    Voxels measure 2 to 4.5 mm in the slice and 2 to 7 mm along the body: fine enough for cubes of 128 voxels, coarse
    enough to be quick.

    Args:
        seed: whole number >= 0.
        detail: factor on the number of voxels along each axis; below 1 for quick tests.

    Returns:
        The volume and its lungs.

    Raises:
        UsageError: for a bad argument.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UsageError(f"seed={seed!r} is not usable: give a whole number of at least 0.")
    if not 0 < detail <= 4:
        raise UsageError(f"detail={detail} is not usable: give a factor above 0 and up to 4.")
    anatomy, scan, texture = (np.random.default_rng([int(seed), part]) for part in range(10, 13))
    grid, place = _draw_grid(scan, detail)
    patient = _draw_patient(anatomy, place)
    thorax = build_thorax(anatomy, patient)
    cube = NoiseCube(texture)
    lesions = _draw_disease(anatomy, thorax, cube)
    extras = _draw_extras(anatomy, thorax)
    hu, lungs = _render(Renderer(thorax, lesions, grid, cube, bed=bool(scan.random() < 0.8), extras=extras), grid)
    _warp(anatomy, grid, hu, lungs)
    hu = _acquire(scan, texture, hu, grid)
    if scan.random() < 0.6:
        beyond = _beyond_circle(grid, float(scan.uniform(0.97, 1.2)))
        hu[:, beyond], lungs[:, beyond] = _PADDING, 0
    return VariedCT(Volume(np.rint(np.clip(hu, -1024, 3071)).astype(np.int16), grid.affine), lungs)


def _maybe(rng: np.random.Generator, chance: float, low: float, high: float, otherwise: float = 0.0) -> float:
    """A uniform draw with the given chance, else ``otherwise``; always takes two numbers from the stream."""
    happens, value = rng.random() < chance, float(rng.uniform(low, high))
    return value if happens else otherwise


def _draw_grid(rng: np.random.Generator, detail: float) -> tuple[Grid, tuple[float, float, float]]:
    """Voxels, field of view and scan range; and the place of the body in it (x, y, z) mm."""
    step = np.exp(rng.uniform(np.log([2.0, 2.0]), np.log([7.0, 4.5])))  # (d, in-plane) mm
    field = rng.uniform(255, 480)
    length = rng.uniform(250, 400)
    shape = np.maximum(np.rint(np.array([length / step[0], field / step[1], field / step[1]]) * detail), 8).astype(int)
    spacing = np.array([length, field, field]) / shape
    cut = _maybe(rng, 0.25, -110, 110)  # part of the lungs lies outside the scan
    place = (rng.uniform(-1, 1) * (8 + 0.06 * (field - 255)), rng.uniform(-1, 1) * 20, cut + rng.uniform(-15, 15))
    return Grid.fit(shape.tolist(), spacing.tolist()), (float(place[0]), float(place[1]), float(place[2]))


def _draw_patient(rng: np.random.Generator, place: tuple[float, float, float]) -> Patient:
    """A patient far from the average: body, breath, density of the lungs, one or both diaphragms raised."""
    patient = Patient.draw(rng, arms_up=bool(rng.random() < 0.75), variety=VARIETY)
    lift = _maybe(rng, 0.35, 10, 70)
    side = int(rng.integers(3))  # right, left, both
    return replace(
        patient,
        dome=min(patient.dome + (lift if side != 1 else 0.0), 5.0),
        dome_step=patient.dome_step + (lift, -lift, 0.0)[side],
        fat=float(np.clip(rng.gamma(2.0, 10.0), 3, 70)),
        heart=patient.heart * float(rng.uniform(0.8, 1.3)),
        lung_hu=float(rng.uniform(-930, -700)),
        gravity_hu=float(rng.uniform(10, 160)),
        junction=float(rng.uniform(1, 9)),
        turn=float(rng.uniform(-0.2, 0.2)),
        shift=place,
    )


def _draw_disease(rng: np.random.Generator, thorax: Thorax, cube: NoiseCube) -> Lesions:
    """Normal, pneumonia or COVID-19 in equal parts, and now and then an effusion."""
    lesions = draw_lesions(rng, thorax, CLASSES[rng.integers(len(CLASSES))], cube)
    fluid = _maybe(rng, 0.2, 8, 45)
    side = int(rng.choice([-1, 1]))
    return replace(lesions, effusion=side, fluid=fluid) if fluid else lesions


def _draw_extras(rng: np.random.Generator, thorax: Thorax) -> Extras:
    """Contrast agent, gas in the abdomen, nodules and masses from inside the lung to its wall."""
    patient = thorax.patient
    gas, masses = [], []
    for _ in range(int(rng.integers(0, 6))):
        side = 1 if rng.random() < 0.75 else -1  # stomach and splenic flexure: left
        dome = patient.dome - (patient.dome_step if side > 0 else 0.0)
        site = np.array([side * rng.uniform(15, 105), rng.uniform(-75, 45), dome - rng.uniform(12, 90)])
        size = rng.uniform(6, 38)
        bubbles = int(rng.integers(1, 5))  # one in the stomach, several in the bowel
        for _ in range(bubbles):
            gas.append(_ellipsoid(rng, site, size / bubbles**0.5))
            site = site + rng.normal(0, 0.8 * size, 3)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.choice([-1, 1]) * rng.uniform(35, 130), rng.uniform(-85, 90)
        mass = _ellipsoid(rng, np.array([x, y, rng.uniform(patient.dome - 30, patient.apex)]), rng.uniform(4, 28))
        masses.append((mass, float(rng.choice([rng.uniform(-20, 70), rng.uniform(-700, -300)], p=[0.75, 0.25]))))
    return Extras(contrast_hu=_maybe(rng, 0.35, 60, 350), gas=tuple(gas), masses=tuple(masses))


def _ellipsoid(rng: np.random.Generator, centre: NDArray[np.float64], size: float) -> Ellipsoid:
    """A turned ellipsoid of about ``size`` mm half length."""
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return Ellipsoid.turned(centre, axes, (size * rng.uniform(0.6, 1.5, 3)).tolist())


def _render(source: Renderer, grid: Grid) -> tuple[Floats, NDArray[np.uint8]]:
    """The whole scan without noise, and its lungs."""
    hu, lungs = np.empty(grid.shape, dtype=np.float32), np.empty(grid.shape, dtype=np.uint8)
    for slab in source.slabs():
        hu[slab.where], lungs[slab.where] = slab.hu, slab.lung
    return hu, lungs


def _warp(rng: np.random.Generator, grid: Grid, hu: Floats, lungs: NDArray[np.uint8]) -> None:
    """Deform scan and lungs smoothly by some mm, in place: shapes that the anatomy's formulas do not give."""
    amount = rng.uniform(0, 9)
    index: list[Floats] = []
    for axis, size in enumerate(grid.shape):
        knots = ndimage.gaussian_filter(rng.standard_normal(_WARP.shape).astype(np.float32), 1.0)
        moved = CoarseField(knots / knots.std() * np.float32(amount), _WARP).sample(grid.axes)
        lines = np.arange(size, dtype=np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        index.append(lines + moved / np.float32(grid.spacing[axis]))
    right, left = (
        ndimage.map_coordinates((lungs == side).astype(np.float32), index, order=1, mode="nearest") for side in (1, 2)
    )  # beyond the scan both go on as at its edge, so that lungs cut there keep their label
    hu[:] = ndimage.map_coordinates(hu, index, order=1, mode="nearest")
    lungs[:] = np.where(np.maximum(right, left) > 0.5, np.where(left > right, 2, 1), 0)


def _acquire(rng: np.random.Generator, texture: np.random.Generator, clean: Floats, grid: Grid) -> Floats:
    """Slice profile, kernel with its overshoot, noise, calibration."""
    thick, blur, sharpen = _maybe(rng, 0.5, 0, 0.8), _maybe(rng, 0.5, 0, 0.9), _maybe(rng, 0.4, 0, 1.2)
    hu = ndimage.gaussian_filter(clean, (thick, blur, blur))
    if sharpen:
        hu += np.float32(sharpen) * (hu - ndimage.gaussian_filter(hu, (0, 1.0, 1.0)))
    kernel = "sharp" if rng.random() < 0.6 else "soft"
    noise = KernelNoise(texture, grid.shape[1:], kernel)
    hu += np.float32(rng.gamma(2.0, 12.0)) * noise.take(len(hu))
    hu = np.float32(rng.uniform(0.94, 1.06)) * (hu - np.float32(AIR)) + np.float32(AIR + rng.uniform(-15, 25))
    return np.asarray(hu, dtype=np.float32)


def _beyond_circle(grid: Grid, size: float) -> NDArray[np.bool_]:
    """Pixels (H, W) outside the reconstructed circle; ``size`` 1 touches the edges of the picture."""
    _, y, x = grid.axes
    return np.asarray(np.hypot(x, y[:, None]) > size * max(float(x[-1]), 1.0))
