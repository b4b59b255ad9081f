"""Chest X-ray phantoms by projecting a simulated thorax (Beer-Lambert). A test object, not a disease model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidct.errors import UsageError
from covidct.labels import CLASSES
from covidct.phantom.ct import renderer
from covidct.phantom.grid import Grid
from covidct.volume import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.phantom.ct import Diagnosis
    from covidct.phantom.grid import Floats

MU_WATER = 0.0195
"""Linear attenuation of water per mm at 65 keV, near the mean energy of a 120 kV chest exposure (NIST XCOM)."""

BONE_FROM = 100.0
"""HU above which a voxel holds calcium."""
BONE_GAIN = 1.8
"""Absorption of calcium in an X-ray picture (30-65 keV dominate) against that in CT (about 75 keV)."""

DETECTOR_MM = 350.0
"""Side of the square detector field."""
DEPTH_MM = 340.0
"""Way of the ray through the body box."""
DEPTH_STEPS = 68
"""Samples along the ray (5 mm)."""
SCATTER = 0.25
"""Scattered part of the signal behind a grid, as a share of the primary."""


COMPRESSION, DISPLAY_CENTRE, DISPLAY_WIDTH = 0.45, 3.0, 0.40
"""Display: share of the wide differences taken away; centre and width of the curve in units of the line integral."""


@dataclass(frozen=True)
class PhantomCXR:
    """A simulated chest X-ray, seen from the front: the patient's right is on the left of the picture.

    Attributes:
        image: float32 [0, 1], dense bright, row 0 at the head.
        lung_mask: (H, W) uint8, 1 right and 2 left: every pixel whose ray meets lung, the heart's and the diaphragm's
            shadow included; where both lungs lie on the ray, the one with the longer way.
        label: index in :data:`covidct.labels.CLASSES`.
    """

    image: Image
    lung_mask: NDArray[np.uint8]
    label: int


def attenuation(hu: Floats) -> Floats:
    """Linear attenuation per mm from HU; same shape, float32, never negative.

    ``MU_WATER * (1 + hu / 1000)`` up to ``BONE_FROM`` HU, above it steeper by ``BONE_GAIN``: the calcium of bone
    absorbs more at the lower mean energy of an X-ray picture than at that of CT (the usual bilinear conversion).
    """
    extra = (BONE_GAIN - 1) * np.maximum(hu - BONE_FROM, 0)
    return np.asarray(MU_WATER * np.maximum(1 + (hu + extra) / 1000, 0), dtype=np.float32)


def line_integral(hu: Floats, step_mm: float, axis: int = 1) -> Floats:
    """Integral of the attenuation along one axis (no unit): ``-log`` of the transmission of a thin parallel ray.

    Args:
        hu: HU, any shape.
        step_mm: voxel size along ``axis`` in mm.
        axis: axis of the ray, 1 = from front to back in a (D, H, W) volume.
    """
    return np.asarray(attenuation(hu).sum(axis=axis) * np.float32(step_mm))


def simulate_cxr(
    seed: int,
    *,
    diagnosis: Diagnosis = "normal",
    shape: Sequence[int] = (256, 256),
    photons: float = 20000.0,
) -> PhantomCXR:
    """Simulate a frontal chest X-ray by sending parallel rays through the thorax of :func:`simulate_ct`.

    Primary transmission by Beer-Lambert, scatter, photon noise, logarithm, and a display curve with fixed end points
    in optical density, so that brightness keeps its meaning between images.

    Args:
        seed: whole number >= 0; the patient is the one of ``simulate_ct`` with the same seed.
        diagnosis: ``"normal"``, ``"cap"`` or ``"covid"``.
        shape: pixels (H, W).
        photons: photons a pixel without absorber; infinity for an image without noise.

    Returns:
        Image, projected lung mask and label.

    Raises:
        UsageError: for a bad argument.
    """
    if len(tuple(shape)) != 2:
        raise UsageError(f"shape={tuple(shape)} is not usable: give two whole numbers of at least 2 (H, W).")
    if not photons > 0:
        raise UsageError(f"photons={photons} is not usable: give a number above 0, or infinity for no noise.")
    height, width = shape
    grid = Grid.fit((height, DEPTH_STEPS, width), None, (DETECTOR_MM, DEPTH_MM, DETECTOR_MM))
    path = np.empty((grid.shape[0], grid.shape[2]), dtype=np.float32)
    mask = np.empty(path.shape, dtype=np.uint8)
    for slab in renderer(seed, diagnosis, grid, arms_up=False).slabs():
        path[slab.where] = line_integral(slab.hu, grid.spacing[1])
        mask[slab.where] = project_mask(slab.lung)
    image = _expose(path, photons, np.random.default_rng([int(seed), 4]))
    steps = ("beer_lambert", "scatter", "photon_noise", "logarithm", "display_curve")
    spacing = (grid.spacing[0], grid.spacing[2])
    return PhantomCXR(
        Image(np.ascontiguousarray(_display(image)[::-1]), spacing=spacing, modality="DX", steps=steps),
        np.ascontiguousarray(mask[::-1]),
        CLASSES.index(diagnosis),
    )


def project_mask(lung: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shadow of a lung mask (D, H, W) along the ray: (D, W), the side with the longer way where both are met."""
    right, left = ((lung == side).sum(axis=1) for side in (1, 2))
    return np.where(right + left == 0, 0, np.where(right >= left, 1, 2)).astype(np.uint8)


def _expose(path: Floats, photons: float, rng: np.random.Generator) -> Floats:
    """Measured -log signal: transmission, scatter from a wide neighbourhood, photon noise."""
    primary = np.exp(-path)
    sigma = 0.12 * path.shape[1]
    signal = primary + SCATTER * cv2.GaussianBlur(primary, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    if np.isfinite(photons):
        signal = rng.poisson(signal * photons).astype(np.float32) / np.float32(photons)
        signal = np.maximum(signal, np.float32(0.5 / photons))
    return np.asarray(-np.log(signal / (1 + SCATTER)), dtype=np.float32)


def _display(density: Floats) -> Floats:
    """Display curve as of digital radiography: wide differences compressed, then a sigmoid; [0, 1]."""
    wide = cv2.GaussianBlur(density, (0, 0), 0.09 * density.shape[1], borderType=cv2.BORDER_REPLICATE)
    flat = density - COMPRESSION * (wide - DISPLAY_CENTRE)
    return np.asarray(1 / (1 + np.exp(-(flat - DISPLAY_CENTRE) / DISPLAY_WIDTH)), dtype=np.float32)
