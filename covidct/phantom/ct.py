"""Chest CT phantoms: volumes in Hounsfield units with lung and lesion masks. A test object, not a disease model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import cv2
import numpy as np

from covidct.errors import UsageError
from covidct.labels import CLASSES
from covidct.phantom.anatomy import build_thorax
from covidct.phantom.grid import Grid, NoiseCube
from covidct.phantom.lesions import draw_lesions
from covidct.phantom.noise import KernelNoise
from covidct.phantom.patient import Patient
from covidct.phantom.render import Renderer
from covidct.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from covidct.phantom.grid import Floats

TEST_OBJECT = "A test object, not a disease model."
"""Stands in every output that was made from phantoms."""

Diagnosis = Literal["normal", "cap", "covid"]
Contrast = Literal["high", "low"]

LOW_CONTRAST = 0.88
"""``contrast="low"``: the grey range is compressed about ``PIVOT`` by this factor."""
PIVOT = 40.0
"""HU that the compression leaves alone: soft tissue."""
LOW_NOISE = 1.4
"""``contrast="low"``: factor on the noise."""

MIN_LESION_MM2 = 60.0
"""A slice counts as diseased from this lesion area on; smaller specks are partial volume of the neighbour slice."""


@dataclass(frozen=True)
class PhantomCT:
    """A simulated chest CT.

    Attributes:
        volume: int16 HU on a canonical LPS grid.
        lung_mask: (D, H, W) uint8, 1 right and 2 left lung: air, lesions, vessels and bronchi inside the lung surface;
            without trachea, main bronchi, hilar vessels and pleural effusion.
        lesion_mask: (D, H, W) uint8, 1 ground-glass opacity, 2 consolidation; inside ``lung_mask``.
        slice_label: (D,) int64, the case's label where the slice shows at least ``MIN_LESION_MM2`` of lesion, else 0.
        label: index in :data:`covidct.labels.CLASSES`.
    """

    volume: Volume
    lung_mask: NDArray[np.uint8]
    lesion_mask: NDArray[np.uint8]
    slice_label: NDArray[np.int64]
    label: int


def renderer(seed: int, diagnosis: str, grid: Grid, *, arms_up: bool = True) -> Renderer:
    """Draw patient and lesions and prepare their rendering; the patient depends on ``seed`` alone.

    Raised arms go with the scanner's bed, lowered arms with an X-ray stand.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UsageError(f"seed={seed!r} is not usable: give a whole number of at least 0.")
    if diagnosis not in CLASSES:
        raise UsageError(f"diagnosis={diagnosis!r} is unknown: use one of {', '.join(CLASSES)}.")
    body, texture, disease = (np.random.default_rng([int(seed), part]) for part in range(3))
    cube = NoiseCube(texture)
    thorax = build_thorax(body, Patient.draw(body, arms_up=arms_up))
    return Renderer(thorax, draw_lesions(disease, thorax, diagnosis, cube), grid, cube, bed=arms_up)


def simulate_ct(
    seed: int,
    *,
    diagnosis: Diagnosis = "normal",
    shape: Sequence[int] = (96, 128, 128),
    spacing: Sequence[float] | None = None,
    contrast: Contrast = "high",
    noise_hu: float = 20.0,
) -> PhantomCT:
    """Simulate a chest CT without contrast agent, lying on the back, arms raised.

    The patient (size, lung volume, heart, fat, posture) follows from ``seed`` alone: the same seed with another
    diagnosis is the same patient with other lungs, so nothing outside the lungs tells the class (but an effusion).

    Args:
        seed: whole number >= 0; the same seed gives the same bytes.
        diagnosis: ``"normal"``, ``"cap"`` or ``"covid"``.
        shape: voxels (D, H, W).
        spacing: mm along (d, h, w); None fits a whole thorax, (3.2, 2.9, 2.9) at the default shape.
        contrast: ``"low"`` is the low-contrast acquisition of the gated ensemble: grey range compressed by
            ``LOW_CONTRAST`` about ``PIVOT`` HU, a softer kernel, ``LOW_NOISE`` times the noise.
        noise_hu: standard deviation of the noise in soft tissue, HU.

    Returns:
        The volume and its truth.

    Raises:
        UsageError: for a bad argument.
    """
    grid = Grid.fit(shape, spacing)
    if contrast not in get_args(Contrast):
        raise UsageError(f"contrast={contrast!r} is unknown: use 'high' or 'low'.")
    if not (np.isfinite(noise_hu) and noise_hu >= 0):
        raise UsageError(f"noise_hu={noise_hu} is not usable: give a standard deviation in HU of at least 0.")
    low = contrast == "low"
    source = renderer(seed, diagnosis, grid)
    noise = KernelNoise(np.random.default_rng([int(seed), 3]), grid.shape[1:], "soft" if low else "sharp")
    amplitude = np.float32(noise_hu * (LOW_NOISE if low else 1.0))
    hu = np.empty(grid.shape, dtype=np.int16)
    lung, lesion = np.empty(grid.shape, dtype=np.uint8), np.empty(grid.shape, dtype=np.uint8)
    for slab in source.slabs():
        clean = _lower(slab.hu) if low else slab.hu
        if amplitude:
            clean = clean + amplitude * noise.take(len(clean)) * _loudness(clean)
        hu[slab.where] = np.rint(np.clip(clean, -1024, 3071))
        lung[slab.where], lesion[slab.where] = slab.lung, slab.lesion
    label = CLASSES.index(diagnosis)
    area = np.count_nonzero(lesion, axis=(1, 2)) * grid.spacing[1] * grid.spacing[2]
    slice_label = np.where(area >= MIN_LESION_MM2, label, 0).astype(np.int64)
    return PhantomCT(Volume(hu, grid.affine), lung, lesion, slice_label, label)


def _loudness(hu: Floats) -> Floats:
    """Noise against that of soft tissue: less where little is absorbed (0.7 in air)."""
    return np.asarray(np.clip(1 + 0.3 * hu / 1000, 0.7, 1.0), dtype=np.float32)


def _lower(hu: Floats) -> Floats:
    """Softer kernel and compressed grey range."""
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 0.5) for plane in hu])
    return np.asarray(PIVOT + LOW_CONTRAST * (soft - PIVOT), dtype=np.float32)
