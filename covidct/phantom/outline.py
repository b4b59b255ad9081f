"""The surfaces that bound the lungs and the chest wall, as height tables in millimetres.

Every surface is a function of two coordinates, so a table at a fixed resolution describes it and any grid reads it
with one look-up a voxel: chest wall and skin as radius over (z, angle) about the long axis, diaphragm and lung tops as
height over (y, x), the mediastinum as half width over (z, y) to either side. Frame: x to the left, y to the back, z to
the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.phantom.grid import Floats
    from covidct.phantom.patient import Patient
    from covidct.phantom.tubes import Tubes

STEP = 2.0
"""Step of the tables in mm."""
REACH = 230.0
"""The tables span -REACH .. REACH in mm."""
ANGLES = 720
"""Steps of the angle, 0 = to the left, a quarter turn = to the back."""
AXIS_Y = 8.0
"""Place (y, mm) of the axis that the radii are measured from."""

LINE = np.arange(-REACH, REACH + STEP / 2, STEP)


def index_of(position: NDArray[np.floating]) -> NDArray[np.intp]:
    """Row of a table for positions in mm, cut at the ends."""
    return np.asarray(np.clip(np.rint((position + REACH) / STEP), 0, len(LINE) - 1), dtype=np.intp)


def angle_index(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.intp]:
    """Column of a radius table for places (x, y)."""
    turn = np.rint(np.arctan2(y - AXIS_Y, x) * (ANGLES / (2 * np.pi)))
    return np.asarray(turn, dtype=np.intp) % ANGLES


@dataclass(frozen=True)
class Outline:
    """Tables of the surfaces; each with the L1 norm of its slope beside it, for the width of soft edges.

    Attributes:
        skin: (Z, ANGLES) radius of the body.
        muscle: (Z, ANGLES) radius of the outer face of the muscle layer.
        cavity: (Z, ANGLES) radius of the pleural cavity and, below, of the abdomen.
        floor: (Y, X) height of the diaphragm.
        roof: (Y, X) height of the lung tops.
        middle: (2, Z, Y) half width of the mediastinum to the right and to the left.
        apex_y: (Z,) middle line of the chest in y.
    """

    skin: Floats
    muscle: Floats
    cavity: Floats
    floor: Floats
    roof: Floats
    middle: Floats


def spine_y(z: NDArray[np.floating], patient: Patient) -> NDArray[np.float64]:
    """Place of the middle of the vertebral bodies: a thoracic kyphosis, the body leaning forward again at the neck."""
    rise = np.clip((z + 150) / 260, 0, 1.3)
    bend = patient.kyphosis * np.sin(np.pi * np.clip(rise, 0, 1.3)) - 6.0
    return np.asarray(50.0 * patient.depth / 91 + bend)


def spine_x(z: NDArray[np.float64], patient: Patient) -> NDArray[np.float64]:
    """Sideways swing of the spine."""
    return np.asarray(patient.scoliosis * np.sin(z / 80))


def _profile(z: NDArray[np.float64], knots: dict[float, float]) -> NDArray[np.float64]:
    """A smooth curve through the knots (z: value), constant outside."""
    places = np.array(sorted(knots))
    values = np.array([knots[p] for p in places])
    return np.asarray(PchipInterpolator(places, values)(np.clip(z, places[0], places[-1])))


def _radii(
    half_width: NDArray[np.float64], half_depth: NDArray[np.float64], centre: NDArray[np.float64], power: float
) -> NDArray[np.float64]:
    """Radius over the angle about the axis, of superellipses whose middle lies off the axis; (Z, ANGLES)."""
    t = np.linspace(0, 2 * np.pi, 361)
    c, s = np.cos(t), np.sin(t)
    x = half_width[:, None] * np.sign(c) * np.abs(c) ** (2 / power)
    y = half_depth[:, None] * np.sign(s) * np.abs(s) ** (2 / power) + centre[:, None] - AXIS_Y
    angle = np.unwrap(np.arctan2(y, x), axis=1)
    wanted = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    return np.stack([np.interp(wanted, a, r, period=2 * np.pi) for a, r in zip(angle, np.hypot(x, y), strict=True)])


def _walls(patient: Patient) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Cavity, muscle and skin radii."""
    w, d, top = patient.width, patient.depth, patient.apex
    back = spine_y(LINE, patient) + 34.0
    width = _profile(LINE, {-190: 0.93 * w, -90: w, -20: 0.97 * w, top - 60: 0.85 * w, top - 25: 0.70 * w,
                            top: 0.52 * w, top + 40: 0.36 * w})  # fmt: skip
    front = _profile(LINE, {-190: -d - 6, -70: -d - 6, -10: -d + 2, top - 70: -0.76 * d, top - 30: -0.5 * d,
                            top: -0.2 * d, top + 40: -0.1 * d})  # fmt: skip
    cavity = _radii(width, (back - front) / 2, (back + front) / 2, 2.45)
    angle = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    to_back = np.clip(np.sin(angle), 0, 1)
    to_side = np.abs(np.cos(angle))
    to_front = np.clip(-np.sin(angle), 0, 1)
    high = np.clip((LINE - 10) / (top - 10), 0, 1)[:, None]
    m = patient.muscle
    sides = np.exp(-(((np.abs(np.cos(angle)) - 0.55) / 0.25) ** 2))
    wall = m * (13 + 16 * to_back**2 * sides + 6 * to_back)
    wall = wall + high * m * (18 * to_front * sides + 34 * to_side**2 + 14 * to_back) + 30 * high**2 * to_side
    muscle = cavity + wall
    # the shoulders keep the body wide where the rib cage narrows
    if patient.arms_up:
        reach = {-60: 0.95 * w, top - 70: 1.2 * w, top: 1.3 * w, top + 60: 1.25 * w}
    else:
        reach = {-60: 1.0 * w, top - 70: 1.4 * w, top - 10: 1.46 * w, top + 22: 1.2 * w, top + 48: 0.5 * w}
    shoulder = _radii(
        _profile(LINE, reach),
        _profile(LINE, {-60: 50, top - 50: 66, top - 10: 70 if patient.arms_up else 84, top + 60: 56}),
        _profile(LINE, {-60: 30, top - 40: 34, top + 30: 40}),
        3.0,
    )
    blend = np.clip((LINE - (top - 110)) / 80, 0, 1)[:, None]
    muscle = np.maximum(muscle, blend * shoulder)
    muscle = ndimage.gaussian_filter(muscle, (3, 10), mode=("nearest", "wrap"))
    groove = np.exp(-(((angle - np.pi / 2) / 0.13) ** 2))
    fat = patient.fat * (0.65 + 0.55 * to_back * (1 - sides) + 0.35 * to_front + 0.25 * to_side**2)
    low = np.clip((-LINE - 60) / 80, 0, 1)[:, None]
    skin = muscle + (fat * (1 - 0.35 * high + 0.45 * low * to_front) + 3.5) - 5 * groove
    return cavity, muscle, ndimage.gaussian_filter(skin, (4, 12), mode=("nearest", "wrap"))


def _floor(patient: Patient) -> NDArray[np.float64]:
    """Diaphragm: two domes, the right one higher, falling into the recess at the sides and the back."""
    y, x = LINE[:, None], LINE[None, :]
    domes = []
    for side, height in ((-1, patient.dome), (1, patient.dome - patient.dome_step)):
        far = ((x - side * 0.47 * patient.width) / (0.56 * patient.width)) ** 2
        far = far + ((y + 4) / (1.04 * patient.depth)) ** 2
        dome = height - 62 * (1 - np.sqrt(np.clip(1 - far, 0, 1))) - 26 * np.clip(far - 1, 0, 2)
        domes.append(dome - 0.22 * np.clip(y + 4, 0, None) + 0.06 * np.clip(-y, 0, None))
    saddle = patient.dome - patient.dome_step - 8 - 0.002 * x**2 - 0.3 * np.clip(y - 10, 0, None) + 0 * y
    recess = np.full_like(x + y, patient.dome - 78)  # the lung does not reach the bottom of the recess
    surface = 6 * np.logaddexp.reduce([domes[0] / 6, domes[1] / 6, saddle / 6, recess / 6])
    return np.asarray(ndimage.gaussian_filter(surface, 2))


def _roof(patient: Patient) -> NDArray[np.float64]:
    """Tops of the two lungs: rounded apices beside the spine."""
    y, x = LINE[:, None], LINE[None, :]
    cy = spine_y(np.array([patient.apex]), patient)[0] - 22
    tops = []
    for side, height in ((-1, patient.apex), (1, patient.apex + 2)):
        far = ((x - side * 0.32 * patient.width) / 46) ** 2 + ((y - cy) / 48) ** 2
        tops.append(height - 24 * far**0.85)
    return np.asarray(np.maximum(*tops))


def silhouette(tubes: Tubes, side: int, margin: float) -> Floats:
    """How far tubes reach to one side: (Z, Y) in mm, -REACH where they are not."""
    reach = np.full((len(LINE), len(LINE)), -REACH, dtype=np.float32)
    pieces = np.maximum(np.ceil(np.linalg.norm(tubes.end - tubes.start, axis=1) / 3), 1).astype(int)
    for start, end, radius, count in zip(tubes.start, tubes.end, tubes.radius, pieces, strict=True):
        for t in (np.arange(count) + 0.5) / count:
            x, y, z = start + (end - start) * t
            r = radius[0] + (radius[1] - radius[0]) * t + margin
            k, j = (slice(int((c - r + REACH) // STEP), int((c + r + REACH) // STEP) + 2) for c in (z, y))
            rest = r**2 - (LINE[k, None] - z) ** 2 - (LINE[None, j] - y) ** 2
            edge = np.where(rest > 0, side * x + np.sqrt(np.maximum(rest, 0)), -REACH)
            np.maximum(reach[k, j], edge, out=reach[k, j])
    return reach


def _middle(patient: Patient, tubes: Tubes, hearts: list[Ellipsoid]) -> Floats:
    """Half width of the mediastinum to the right and to the left."""
    z, y = LINE[:, None], LINE[None, :]
    vertebra = spine_y(LINE, patient)[:, None]
    sideways = spine_x(LINE, patient)[:, None]
    up = np.clip((z - patient.arch) / 40, 0, 1)
    base = patient.junction + 14 * up * np.exp(-(((y - vertebra + 45) / 32) ** 2))
    body = 19.5 * np.sqrt(np.clip(1 - ((y - vertebra) / 19) ** 2, 0, 1))
    arch = 24.0 * np.clip((y - vertebra - 2) / 14, 0, 1) + 1.2 * np.clip(y - vertebra - 14, 0, 40)
    sides = []
    for side in (-1, 1):
        half = np.maximum(base, np.maximum(body, arch) + side * sideways)
        half = np.maximum(half, silhouette(tubes, side, 3.0))
        for heart in hearts:
            half = np.maximum(half, heart.reach(side, z, y))
        sides.append(ndimage.gaussian_filter(half, (2.0, 2.0)))
    return np.stack(sides).astype(np.float32)


@dataclass(frozen=True)
class Ellipsoid:
    """A solid ellipsoid, ``(p - centre)' form (p - centre) <= 1``, mm in the order (x, y, z)."""

    centre: NDArray[np.float64]
    form: NDArray[np.float64]

    @classmethod
    def turned(cls, centre: NDArray[np.float64], axes: NDArray[np.float64], lengths: list[float]) -> Ellipsoid:
        """From orthonormal ``axes`` (rows) and half lengths."""
        return cls(centre, axes.T @ np.diag(1 / np.square(lengths)) @ axes)

    def grown(self, margin: float) -> Ellipsoid:
        """A shell of about ``margin`` mm added."""
        mean = np.linalg.det(self.form) ** (-1 / 6)
        return Ellipsoid(self.centre, self.form / (1 + margin / mean) ** 2)

    def reach(self, side: int, z: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest ``side * x`` of the solid over (z, y), -REACH beside it."""
        q, dy, dz = self.form, y - self.centre[1], z - self.centre[2]
        b = q[0, 1] * dy + q[0, 2] * dz
        c = q[1, 1] * dy**2 + 2 * q[1, 2] * dy * dz + q[2, 2] * dz**2 - 1
        root = b**2 - q[0, 0] * c
        edge = (-side * b + np.sqrt(np.maximum(root, 0))) / q[0, 0]
        return np.where(root > 0, side * self.centre[0] + edge, -REACH)


def build_outline(patient: Patient, tubes: Tubes, hearts: list[Ellipsoid]) -> Outline:
    """Make the tables.

    Args:
        patient: body measures.
        tubes: mediastinal vessels and airways outside the lungs, which push the lungs aside.
        hearts: solids that push the lungs aside.
    """
    cavity, muscle, skin = _walls(patient)
    return Outline(
        skin=skin.astype(np.float32),
        muscle=muscle.astype(np.float32),
        cavity=cavity.astype(np.float32),
        floor=_floor(patient).astype(np.float32),
        roof=_roof(patient).astype(np.float32),
        middle=_middle(patient, tubes, [h.grown(4.0) for h in hearts]),
    )
