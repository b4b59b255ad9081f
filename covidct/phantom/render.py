"""From anatomy and lesions to Hounsfield units, slab by slab, so that memory stays at the size of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidct.phantom.lesions import CONSOLIDATION_HU, Lesions, sample_lesions
from covidct.phantom.outline import ANGLES, AXIS_Y, spine_y
from covidct.phantom.space import Space, at_heights, soft_step
from covidct.phantom.tubes import TubePaint, Tubes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from covidct.phantom.anatomy import Thorax
    from covidct.phantom.grid import Floats, Grid, NoiseCube
    from covidct.phantom.outline import Ellipsoid

AIR, FAT, MUSCLE, BLOOD, HEART, LIVER, SPLEEN, FLUID = -1000.0, -100.0, 54.0, 42.0, 44.0, 58.0, 48.0, 8.0
"""Typical HU without contrast agent."""
CORTEX, MARROW = 720.0, 180.0
"""HU of compact bone (as seen through a CT point spread) and of spongy bone."""


@dataclass(frozen=True)
class Slab:
    """A run of rendered slices.

    Attributes:
        where: place in the volume.
        hu: (n, H, W) float32 without noise.
        lung: (n, H, W) uint8, 1 right, 2 left.
        lesion: (n, H, W) uint8, 1 ground glass, 2 consolidation.
    """

    where: slice
    hu: Floats
    lung: NDArray[np.uint8]
    lesion: NDArray[np.uint8]


@dataclass(frozen=True)
class Extras:
    """What a scan shows beyond the standard patient; in body coordinates.

    Attributes:
        contrast_hu: HU that a contrast agent adds to the blood.
        gas: bubbles in bowel and stomach, seen where they lie below the diaphragm.
        masses: solids in the lungs, cut at the lung surface, with their HU.
    """

    contrast_hu: float = 0.0
    gas: tuple[Ellipsoid, ...] = ()
    masses: tuple[tuple[Ellipsoid, float], ...] = ()


def _mix(hu: Floats, share: Floats | None, value: Floats | np.float32 | float) -> None:
    """Replace a share of each voxel by a tissue of ``value``, in place."""
    if share is not None:
        hu += share * (value - hu)


class Renderer:
    """Renders one thorax with its lesions on one grid."""

    def __init__(
        self,
        thorax: Thorax,
        lesions: Lesions,
        grid: Grid,
        cube: NoiseCube,
        *,
        bed: bool = False,
        extras: Extras | None = None,
    ) -> None:
        """Prepare coordinates and tubes; ``bed`` adds the scanner's table below the back."""
        self._bed, self._extras = bed, extras or Extras()
        self._thorax, self._lesions, self._grid, self._cube = thorax, lesions, grid, cube
        self._space = space = Space(thorax, grid)

        def paint(tubes: Tubes) -> TubePaint:
            return TubePaint(tubes.moved(space.rotation, space.shift), grid)

        self._soft = paint(thorax.soft)
        self._great = paint(thorax.great_vessels) if self._extras.contrast_hu else None
        self._bone, self._marrow = paint(thorax.bone), paint(thorax.bone.shrunk(1.3))
        self._bronchogram = None if lesions.bronchogram is None else paint(lesions.bronchogram)
        self._vessels = paint(thorax.lung_vessels)
        self._airway = paint(Tubes.join([thorax.airway, thorax.bronchi]))
        self._lumen = paint(Tubes.join([thorax.airway.shrunk(1.6), thorax.bronchi.shrunk(0.35)]))

    def slabs(self) -> Iterator[Slab]:
        """Render from the feet to the head."""
        for where in self._grid.slabs():
            yield self._render(where)

    def _render(self, where: slice) -> Slab:
        space, outline = self._space, self._thorax.outline
        axes = (self._grid.axes[0][where], *self._grid.axes[1:])
        streaks = self._cube.sample(axes, 9.0)
        hu = self._chest_wall(where, streaks)
        cavity, floor = space.inside(outline.cavity, where), space.above("floor", where)
        _mix(hu, cavity[1], FAT + 6 * streaks)
        behind = space.y - spine_y(space.z[where], self._thorax.patient).astype(np.float32)[:, None, None]
        _mix(hu, np.minimum(cavity[1], soft_step(behind - 7, space.edge)), MUSCLE)
        abdomen = np.minimum(cavity[1], 1 - floor[1])
        if abdomen.any():
            _mix(hu, abdomen, self._abdomen(where, floor[0], streaks))
            covered = np.minimum(abdomen, soft_step(-floor[0] - 4, space.edge))  # by diaphragm and bowel wall
            for bubble in self._extras.gas:
                _solid(hu, space, where, bubble, AIR, covered)
        agent = self._extras.contrast_hu
        for heart in self._thorax.hearts:
            _solid(hu, space, where, heart, HEART + 0.8 * agent, np.minimum(cavity[1], floor[1]))
        _mix(hu, self._soft.share(where), BLOOD)
        if self._great is not None:
            _mix(hu, self._great.share(where), BLOOD + agent)
        lungs = space.lungs(where, cavity, floor)
        share = lungs.share
        if self._lesions.effusion:
            share = self._effusion(hu, where, share)
        mask = np.where(share > 0.5, np.where(space.left, np.uint8(2), np.uint8(1)), np.uint8(0))
        lesion = np.zeros(mask.shape, dtype=np.uint8)
        found = None
        if mask.any():
            parenchyma = self._parenchyma(streaks)
            found = sample_lesions(self._lesions, axes)
            if found is not None:
                lesion = _consolidate(parenchyma, found, mask)
            for mass, value in self._extras.masses:
                _solid(parenchyma, space, where, mass, value, np.float32(1))
            _mix(hu, share, parenchyma)
        _mix(hu, self._vessels.share(where), BLOOD + agent)
        _mix(hu, self._airway.share(where), 35.0)
        _mix(hu, self._lumen.share(where), AIR)
        if self._bronchogram is not None and found is not None:
            open_share = self._bronchogram.share(where)
            _mix(hu, None if open_share is None else open_share * found[1] * share, AIR)
        _mix(hu, self._bone.share(where), CORTEX)
        _mix(hu, self._marrow.share(where), MARROW)
        return Slab(where, hu, mask, lesion)

    def _chest_wall(self, where: slice, streaks: Floats) -> Floats:
        """Air, skin, fat, and muscle with the fat between its strands."""
        space, outline = self._space, self._thorax.outline
        to_skin, body = space.inside(outline.skin, where)
        hu = np.full(body.shape, np.float32(AIR))
        if self._bed:
            self._paint_bed(hu)
        _mix(hu, body, 10.0)
        _mix(hu, soft_step(to_skin - 1.8, space.edge), FAT + 5 * streaks)
        axes = (self._grid.axes[0][where], *self._grid.axes[1:])
        strands = self._cube.sample(axes, 22.0, 17.0)
        to_muscle, muscle = space.inside(outline.muscle, where)
        wall = at_heights(outline.muscle - outline.cavity, space.z[where])
        plane = np.abs(to_muscle / space.by_angle(wall) - 0.42 - 0.16 * strands)  # fat between the muscle layers
        fatty = np.clip(1.2 - plane * 14, 0, 1) + np.clip(0.8 - np.abs(strands) * 9, 0, 0.5)
        _mix(hu, muscle, np.asarray(MUSCLE + 4 * streaks - 130 * np.minimum(fatty, 1), dtype=np.float32))
        return hu

    def _paint_bed(self, hu: Floats) -> None:
        """Two thin curved shells below the deepest place of the back."""
        _, y, x = self._grid.axes
        back = float(self._thorax.outline.skin[:, ANGLES // 4].max()) + AXIS_Y + self._thorax.patient.shift[1] + 4
        hollow = (y[:, None] - np.float32(back)) + x * x / np.float32(1500)
        pixel = self._grid.spacing[1]
        for depth, thickness in ((0.0, 2.0), (24.0, 1.6)):
            inside = soft_step(np.float32(thickness / 2) - np.abs(hollow - np.float32(depth)), pixel)
            _mix(hu, np.broadcast_to(inside * np.float32(min(1.0, thickness / pixel)), hu.shape), -60.0)

    def _abdomen(self, where: slice, over: Floats, streaks: Floats) -> Floats:
        """Diaphragm muscle, liver, spleen, stomach with its bubble, fat and bowel."""
        space = self._space
        x, y, below = space.x, space.y, -over
        organs = FAT + np.clip((0.5 - np.abs(streaks)) * np.float32(400) + 70, 0, 135, dtype=np.float32)  # bowel in fat
        organs[below < 5] = MUSCLE
        edge = space.edge
        _mix(organs, soft_step(50 - x - 0.55 * below - 0.25 * (y + 20), edge), LIVER + 2 * streaks)
        dome = self._thorax.patient.dome - self._thorax.patient.dome_step
        z = space.z[where][:, None, None]
        spleen = 1 - np.sqrt(((x - 88) / 34) ** 2 + ((y - 48) / 40) ** 2 + ((z - dome + 48) / 42) ** 2)
        _mix(organs, soft_step(spleen * 36, edge), SPLEEN)
        stomach = 1 - np.sqrt(((x - 66) / 46) ** 2 + ((y + 18) / 44) ** 2 + ((z - dome + 46) / 38) ** 2)
        _mix(organs, soft_step(stomach * 42, edge), 38.0)
        bubble = np.minimum(soft_step(stomach * 42 - 4, edge), soft_step(-34 - y, edge))
        _mix(organs, bubble, AIR)
        return np.asarray(organs)

    def _parenchyma(self, streaks: Floats) -> Floats:
        """Aerated lung: denser towards the back (gravity), slightly mottled."""
        patient = self._thorax.patient
        y = self._space.y / np.float32(patient.depth)
        return np.asarray(patient.lung_hu + 0.5 * patient.gravity_hu * y + 10 * streaks, dtype=np.float32)

    def _effusion(self, hu: Floats, where: slice, share: Floats) -> Floats:
        """Fluid between chest wall and lung: a crescent at the back that thins out upwards. Returns the lung left."""
        space = self._space
        angle = np.arange(ANGLES) * (2 * np.pi / ANGLES)
        back = np.clip(np.sin(angle), 0, 1) ** 2
        rise = np.clip((25 - space.z[where]) / 90, 0, 1)
        layer = (self._lesions.fluid * rise[:, None] * back).astype(np.float32)
        inner = at_heights(self._thorax.outline.cavity, space.z[where]) - layer
        rest = space.inside_rows(inner, where)
        own = space.left if self._lesions.effusion > 0 else ~space.left
        rest = np.where(own, np.minimum(rest, share), share)
        _mix(hu, share - rest, FLUID)

        return rest


def _solid(hu: Floats, space: Space, where: slice, body: Ellipsoid, value: float, limit: Floats | np.float32) -> None:
    """Paint an ellipsoid, limited to a region."""
    reach = 1 / np.sqrt(np.linalg.eigvalsh(body.form)[0])
    z = space.z[where]
    if z[0] > body.centre[2] + reach or z[-1] < body.centre[2] - reach:
        return
    q = body.form.astype(np.float32)
    dx, dy = space.x - np.float32(body.centre[0]), space.y - np.float32(body.centre[1])
    dz = (z - np.float32(body.centre[2]))[:, None, None]
    flat = q[0, 0] * dx * dx + 2 * q[0, 1] * dx * dy + q[1, 1] * dy * dy
    form = flat + (2 * q[0, 2] * dx + 2 * q[1, 2] * dy) * dz + q[2, 2] * dz * dz
    mean = np.float32(np.linalg.det(body.form) ** (-1 / 6))
    share = soft_step((1 - np.sqrt(np.maximum(form, 0))) * mean, space.edge)
    _mix(hu, np.minimum(share, limit), value)


def _consolidate(
    parenchyma: Floats, found: tuple[Floats, Floats, Floats], mask: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Mix the lesions into the parenchyma, in place; returns the lesion mask."""
    ggo, solid, density = found
    _mix(parenchyma, ggo, np.maximum(density, parenchyma))
    _mix(parenchyma, solid, CONSOLIDATION_HU)
    lesion = (ggo > 0.5).astype(np.uint8)
    lesion[solid > 0.5] = 2
    lesion[mask == 0] = 0
    return lesion
