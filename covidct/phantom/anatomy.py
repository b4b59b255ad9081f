"""A thorax in millimetres: surfaces, organs and tubes of one patient, free of any voxel grid.

Frame: x to the left, y to the back, z to the head; the origin lies in the middle of the chest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidct.phantom import skeleton
from covidct.phantom.outline import (
    Ellipsoid,
    Outline,
    angle_index,
    build_outline,
    index_of,
    spine_y,
)
from covidct.phantom.tubes import Tubes
from covidct.phantom.vessels import grow_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.phantom.patient import Patient


@dataclass(frozen=True)
class Thorax:
    """One patient's anatomy.

    Attributes:
        patient: body measures.
        outline: surfaces of lungs and chest wall.
        hearts: ventricles and atria.
        great_vessels: vessels outside the lungs, and the oesophagus.
        soft: the great vessels, cartilage and discs.
        bone: all bones.
        lung_vessels: arteries and veins of the lungs.
        airway: trachea and main bronchi, outer radius.
        bronchi: bronchi inside the lungs, outer radius.
    """

    patient: Patient
    outline: Outline
    hearts: tuple[Ellipsoid, ...]
    great_vessels: Tubes
    soft: Tubes
    bone: Tubes
    lung_vessels: Tubes
    airway: Tubes
    bronchi: Tubes


def lung_depth(outline: Outline, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Depth below the lung surface in mm (rough, from the tables) and side of points (N, 3)."""
    x, y, z = points.T
    i, j, k = index_of(x), index_of(y), index_of(z)
    side = np.where(x < 0, -1.0, 1.0)
    wall = outline.cavity[k, angle_index(x, y)] - np.hypot(x, y - 8.0)
    middle = np.abs(x) - outline.middle[(side > 0).astype(int), k, j]
    below = 0.7 * (z - outline.floor[j, i])
    above = 0.7 * (outline.roof[j, i] - z)
    return np.minimum(np.minimum(wall, middle), np.minimum(below, above)), side


def build_thorax(rng: np.random.Generator, patient: Patient) -> Thorax:
    """Build the anatomy of a patient; ``rng`` grows the trees of the lungs."""
    hearts = _hearts(patient)
    great, airway = _great_vessels(patient), _central_airways(patient)
    outline = build_outline(patient, Tubes.join([great, airway]), list(hearts))
    rib_bone, cartilage = skeleton.ribs(patient, outline.cavity)
    spine, discs = skeleton.spine(patient)
    bone = [rib_bone, spine, skeleton.front(patient, outline.cavity), skeleton.shoulders(patient, outline.cavity)]
    vessels, bronchi = _lung_trees(rng, patient, outline)
    return Thorax(
        patient=patient,
        outline=outline,
        hearts=hearts,
        great_vessels=great,
        soft=Tubes.join([great, cartilage, discs]),
        bone=Tubes.join(bone),
        lung_vessels=vessels,
        airway=airway,
        bronchi=bronchi,
    )


def _hearts(patient: Patient) -> tuple[Ellipsoid, ...]:
    """Ventricles, right atrium, left atrium."""
    h = patient.heart
    base = patient.dome - 0.6 * patient.dome_step
    turn = patient.heart_turn
    long = np.array([np.cos(turn), -np.sin(turn), -0.45])
    long /= np.linalg.norm(long)
    across = np.cross(long, [0, 0, 1.0])
    across /= np.linalg.norm(across)
    axes = np.stack([long, across, np.cross(long, across)])
    y = -0.34 * patient.depth
    ventricles = Ellipsoid.turned(np.array([19, y, base + 27]), axes, [60 * h, 43 * h, 42 * h])
    right = Ellipsoid.turned(np.array([-18, y + 14, base + 36]), np.eye(3), [29 * h, 33 * h, 40 * h])
    left = Ellipsoid.turned(np.array([6, y + 38, base + 46]), np.eye(3), [36 * h, 20 * h, 25 * h])
    return ventricles, right, left


def _great_vessels(patient: Patient) -> Tubes:
    """Aorta, pulmonary arteries, caval veins, vessels of the neck, oesophagus."""
    arch, r = patient.arch, patient.aorta
    down = np.linspace(arch - 22, -225, 24)
    back = spine_y(down, patient)
    y0 = float(spine_y(np.array([arch]), patient)[0])
    front = -0.32 * patient.depth

    def line(points: list[list[float]], radius: float | list[float]) -> Tubes:
        return Tubes.line(np.array(points, dtype=float), np.array(radius, dtype=float))

    ascending = [[2, front + 6, arch - 62], [-12, front, arch - 40], [-15, front + 3, arch - 20],
                 [-8, front + 12, arch - 3], [4, front + 26, arch + 3], [16, y0 - 32, arch],
                 [24, y0 - 14, arch - 8], [26, y0 - 8, arch - 22]]  # fmt: skip
    fall = np.stack([np.interp(down, [-200, arch - 22], [6, 26]), back - np.interp(down, [-200, 0], [30, 9]), down], 1)
    gullet_z = np.linspace(190, -110, 20)
    gullet = np.stack([np.interp(gullet_z, [-110, -60, 30], [14, 6, 3]), spine_y(gullet_z, patient) - 27, gullet_z], 1)
    hilum = patient.carina - 14
    return Tubes.join([
        line(ascending, [r + 2, r + 2, r + 1.5, r + 1, r, r - 0.5, r - 1, r - 1]),
        Tubes.line(fall, np.interp(down, [-200, arch], [r - 3, r - 1])),
        line([[16, front - 6, arch - 66], [22, front, arch - 46], [20, front + 18, hilum]], [15, 14, 12]),
        line([[20, front + 18, hilum], [34, front + 34, hilum + 4], [46, front + 50, hilum - 8]], [12, 10.5, 8.5]),
        line([[20, front + 18, hilum], [-4, front + 28, hilum - 4], [-38, front + 36, hilum - 8]], [11, 10.5, 9]),
        line([[-20, front + 14, arch + 30], [-25, front + 12, arch - 5], [-24, front + 12, arch - 60]], [7, 8.5, 10]),
        line([[-20, front + 30, patient.dome + 20], [-22, 14, patient.dome - 30], [-20, 20, -200]], [13, 12, 11]),
        line([[-20, front + 12, arch + 30], [0, front, arch + 22], [24, front + 8, arch + 38], [32, 8, 180]], 6.5),
        line([[-20, front + 14, arch + 30], [-30, front + 24, arch + 52], [-28, 10, 180]], 7.0),
        line([[-4, front + 20, arch + 10], [-16, y0 - 38, arch + 42], [-22, y0 - 30, 185]], 6.0),
        line([[10, y0 - 36, arch + 10], [16, y0 - 34, arch + 42], [20, y0 - 30, 185]], 4.5),
        line([[20, y0 - 18, arch + 4], [26, y0 - 22, arch + 42], [34, y0 - 26, 185]], 4.8),
        line([[-40, front + 40, hilum - 26], [0, front + 36, hilum - 34], [44, front + 46, hilum - 28]], [6, 10, 6]),
        Tubes.line(gullet, 7.0),
    ])  # fmt: skip


def _central_airways(patient: Patient) -> Tubes:
    """Trachea and the two main bronchi, outer radius."""
    z = np.linspace(200, patient.carina, 16)
    rest = np.clip((z - patient.carina) / 100, 0, 1)
    path = np.stack([1 - 2 * rest, spine_y(z, patient) - 39 + 2 * rest, z], axis=1)
    x, y, c = path[-1]
    right = np.array([[x, y, c + 5], [-16, y + 3, c - 9], [-33, y + 8, c - 22]])
    left = np.array([[x, y, c + 5], [18, y + 4, c - 12], [44, y + 12, c - 27]])
    return Tubes.join([
        Tubes.line(path, 10.0),
        Tubes.line(right, np.array([9.0, 8.6, 7.8])),
        Tubes.line(left, np.array([8.6, 7.8, 7.2])),
    ])  # fmt: skip


def _lung_trees(rng: np.random.Generator, patient: Patient, outline: Outline) -> tuple[Tubes, Tubes]:
    """Arteries and veins, and the bronchi that run beside the arteries."""
    box = np.array([1.1 * patient.width, 1.3 * patient.depth, 130.0])
    points = rng.uniform(-1, 1, (26000, 3)) * box
    depth, side = lung_depth(outline, points)
    front = -0.32 * patient.depth
    hilum = patient.carina - 20
    vessels, bronchi = [], []
    for s in (-1, 1):
        own = points[(depth > 4.0) & (side == s)]
        artery = np.array([s * 40.0, front + 40, hilum - 4])
        bronchus = np.array([-33.0 if s < 0 else 44.0, front + 47, hilum - 4])
        vein = np.array([s * 38.0, front + 36, hilum - 24])
        own = np.resize(own, (3072, 3))  # small lungs: some places are served twice
        vessels += grow_tree(artery, own[:2048], leaf_radius=0.66, levels=10)
        vessels += grow_tree(vein, own[2048:], leaf_radius=0.68, levels=9)
        bronchi += grow_tree(bronchus, own[:2048], leaf_radius=1.25, levels=6, taper=3.5)
    return Tubes.join(vessels), Tubes.join(bronchi)
