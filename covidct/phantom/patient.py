"""The variation between patients: one draw of a few body measures, the same for every diagnosis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Patient:
    """Body measures; lengths in mm, densities in HU. Ranges are those of adults lying on the back, arms raised."""

    width: float  # half width of the rib cage inside, widest place
    depth: float  # half depth of the rib cage inside
    apex: float  # top of the lungs above the middle of the scan
    dome: float  # right diaphragm dome against the middle; depends on inspiration
    dome_step: float  # how much lower the left dome stands
    fat: float  # subcutaneous fat
    muscle: float  # scale of the muscle layer
    heart: float  # scale of the heart
    heart_turn: float  # rad, how far the apex of the heart points to the left
    aorta: float  # radius of the aorta
    arch: float  # height of the aortic arch
    carina: float  # height of the carina
    kyphosis: float  # how far the upper spine bends back
    scoliosis: float  # sideways swing of the spine
    junction: float  # half width of the mediastinum where the lungs come closest
    lung_hu: float  # mean density of the parenchyma
    gravity_hu: float  # how much denser the lung is at the back than at the front
    rib_slope: float  # how far a rib falls on its way to the front
    turn: float  # rad, rotation of the body about its long axis
    shift: tuple[float, float, float]  # place of the body in the scan (x, y, z)
    arms_up: bool  # as in CT; down for an X-ray

    @classmethod
    def draw(cls, rng: np.random.Generator, *, arms_up: bool = True, variety: float = 1.0) -> Patient:
        """Draw one patient; the posture does not change the other measures, ``variety`` scales how far they spread."""

        def near(mean: float, spread: float) -> float:
            """A normal draw cut at two spreads: plausible for every seed."""
            return float(mean + variety * spread * np.clip(rng.standard_normal(), -2, 2))

        size = near(1.0, 0.04)
        breath = near(0.0, 1.0)
        arch = near(50.0, 4.0) * size
        return cls(
            width=near(133.0, 4.0) * size,
            depth=near(96.0, 4.0) * size + 1.5 * breath,
            apex=near(116.0, 4.0) * size,
            dome=near(-58.0, 4.0) - 8.0 * breath,
            dome_step=near(11.0, 4.0),
            fat=float(np.clip(rng.gamma(4.0, 4.0), 5, 32)),
            muscle=near(1.0, 0.12),
            heart=near(1.0, 0.06) * size,
            heart_turn=near(0.65, 0.12),
            aorta=near(13.5, 1.3),
            arch=arch,
            carina=arch - near(22.0, 2.0),
            kyphosis=near(20.0, 6.0),
            scoliosis=near(0.0, 3.0),
            junction=5.0,
            lung_hu=near(-850.0, 12.0) - 8.0 * breath,
            gravity_hu=near(55.0, 15.0),
            rib_slope=near(75.0, 8.0),
            turn=near(0.0, 0.03),
            shift=(near(0.0, 4.0), near(0.0, 4.0), near(0.0, 3.0)),
            arms_up=arms_up,
        )
