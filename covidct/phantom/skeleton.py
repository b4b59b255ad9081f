"""Bones as tubes: vertebrae, ribs, sternum, shoulder blades, collar bones and upper arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.phantom.outline import ANGLES, AXIS_Y, index_of, spine_x, spine_y
from covidct.phantom.tubes import Tubes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.phantom.grid import Floats
    from covidct.phantom.patient import Patient

VERTEBRA = 23.5
"""Height of a thoracic vertebra with its disc, mm."""


def on_wall(
    cavity: Floats, z: NDArray[np.float64], from_back: NDArray[np.float64], side: int, out: float
) -> NDArray[np.float64]:
    """Points (N, 3) ``out`` mm outside the rib cage.

    Args:
        cavity: radius table.
        z: (N,) heights.
        from_back: (N,) angle from the back (0) over the side to the front (pi).
        side: -1 right, 1 left.
        out: distance to the pleura in mm.
    """
    theta = np.pi / 2 - side * from_back
    column = np.rint(theta * (ANGLES / (2 * np.pi))).astype(int) % ANGLES
    radius = cavity[index_of(z), column] + out
    return np.stack([radius * np.cos(theta), radius * np.sin(theta) + AXIS_Y, z], axis=1)


def ribs(patient: Patient, cavity: Floats) -> tuple[Tubes, Tubes]:
    """Twelve pairs of ribs that fall towards the front, and the cartilage of the upper ten."""
    bone, cartilage = [], []
    ends = [0.80, 0.80, 0.80, 0.79, 0.78, 0.77, 0.75, 0.72, 0.68, 0.63, 0.50, 0.36]
    for number, end in enumerate(ends):
        top = patient.apex + 10 - VERTEBRA * number
        fall = patient.rib_slope * (0.55 + 0.45 * np.sin(np.pi * min(number + 1, 7) / 14))
        angle = np.linspace(0.10, end, 30) * np.pi
        z = top - fall * (1 - np.cos(angle)) / 2 - 6 * np.sin(angle)
        for side in (-1, 1):
            path = on_wall(cavity, z, angle, side, 5.5)
            head = np.array([[side * 14.0, spine_y(z[:1], patient)[0] + 6, top]])
            path = np.concatenate([head, path])
            for dz in (-2.6, 2.6):  # taller than thick
                bone.append(Tubes.line(path + np.array([0, 0, dz]), 3.1))
            if number < 10:
                angles = np.linspace(end, 0.95, 8) * np.pi
                rise = z[-1] + np.linspace(0, 8.0 * max(number - 1, 0), 8)
                cartilage.append(Tubes.line(on_wall(cavity, rise, angles, side, 6.0), 5.0))
    return Tubes.join(bone), Tubes.join(cartilage)


def spine(patient: Patient) -> tuple[Tubes, Tubes]:
    """Vertebrae with their arches and processes, and the discs between them."""
    bone, discs = [], []
    for number in range(-4, 16):
        z = patient.apex + 10 - VERTEBRA * number
        y = float(spine_y(np.array([z]), patient)[0])
        x = float(spine_x(np.array([z]), patient)[0])
        at = np.array([x, y, z])
        size = 0.8 + 0.02 * np.clip(number, 0, 10)
        for dx in (-6.0, 0.0, 6.0):
            column = at + np.array([[dx * size, 0, -9.5], [dx * size, 0, 9.5]])
            bone.append(Tubes.line(column, (13.0 - 0.12 * abs(dx) ** 1.5) * size))
            discs.append(Tubes.line(column[1:] + np.array([[0, 0, 0], [0, 0, VERTEBRA - 19]]), 12.0 * size))
        for side in (-1, 1):
            bone.append(Tubes.line(at + np.array([[side * 11, 9, 3], [side * 12.5, 21, 3]]), 3.6))
            bone.append(Tubes.line(at + np.array([[side * 12.5, 21, 2], [side * 2, 30, -4]]), 4.2))
            bone.append(Tubes.line(at + np.array([[side * 12, 20, 3], [side * 31, 27, 6]]), 4.2))
        bone.append(Tubes.line(at + np.array([[0, 30, -4], [0, 48, -17]]), 3.6))
    return Tubes.join(bone), Tubes.join(discs)


def front(patient: Patient, cavity: Floats) -> Tubes:
    """Sternum, collar bones."""
    z = np.linspace(patient.apex - 118, patient.apex - 42, 12)
    line = on_wall(cavity, z, np.full(12, np.pi), 1, 7.0)
    width = np.interp(z, [z[0], z[0] + 15, z[-1] - 25, z[-1]], [7.0, 13.0, 13.0, 23.0])
    parts = [Tubes.line(line + np.outer(width, [f, 0, 0]), 4.8) for f in np.linspace(-1, 1, 7)]
    top = line[-1]
    for side in (-1, 1):
        t = np.linspace(0, 1, 12)[:, None]
        end = np.array([side * 1.12 * patient.width, 22.0, patient.apex + (20 if patient.arms_up else -6)])
        path = top + [side * 22, -2, 6] + (end - top) * t + np.sin(2 * np.pi * t) * [0, -8.0, 0]
        parts.append(Tubes.line(path, np.interp(t[:, 0], [0, 0.2, 1], [8.0, 5.5, 5.5])))
    return Tubes.join(parts)


def shoulders(patient: Patient, cavity: Floats) -> Tubes:
    """Shoulder blades lying on the ribs, and the upper arms raised beside the head."""
    parts = []
    for side in (-1, 1):
        for down in np.linspace(0, 1, 22):
            z = patient.apex - 8 - 112 * down
            lateral = 0.52 - 0.12 * down
            angle = np.linspace(0.27 + 0.06 * down, lateral, 10) * np.pi
            path = on_wall(cavity, np.full(10, z), angle, side, 21 - 5 * down)
            parts.append(Tubes.line(path, np.linspace(2.6, 3.4, 10)))
        joint = np.array([side * 1.16 * patient.width, 34, patient.apex + (6 if patient.arms_up else -22)])
        start = on_wall(cavity, np.array([patient.apex - 25]), np.array([0.28 * np.pi]), side, 24)[0]
        parts.append(Tubes.line(np.stack([start, joint + np.array([0, 14, 8])]), np.array([4.0, 6.5])))
        up = 1 if patient.arms_up else -1
        head = joint + np.array([side * 6, -6, 16 * up])
        hand = head + np.array([side * (6 if patient.arms_up else 40), -8, 130 * up])
        parts.append(Tubes.line(np.stack([joint, head]), np.array([19.0, 21.0])))
        parts.append(Tubes.line(np.stack([head, hand]), 12.0))
    return Tubes.join(parts)
