"""Tubes keep their volume on any grid."""

from __future__ import annotations

import numpy as np
import pytest

from covidct.phantom.grid import Grid
from covidct.phantom.tubes import TubePaint, Tubes


@pytest.mark.parametrize("radius", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (3.0, 1.5, 1.7)])
def test_thin_tube_keeps_its_volume(radius: float, spacing: tuple[float, float, float]) -> None:
    grid = Grid.fit((20, 24, 24), spacing)
    line = Tubes.line(np.array([[-8.0, -7.0, -9.0], [9.0, 6.0, 8.0]]), radius)
    share = TubePaint(line, grid).share(slice(0, 20))
    assert share is not None
    volume = share.sum() * np.prod(spacing)
    assert volume == pytest.approx(np.pi * radius**2 * np.sqrt(17**2 + 13**2 + 17**2), rel=0.03)


def test_thick_tube_is_full_inside_and_empty_outside() -> None:
    grid = Grid.fit((20, 40, 40), (1.0, 1.0, 1.0))
    share = TubePaint(Tubes.line(np.array([[0.0, 0.0, -20.0], [0.0, 0.0, 20.0]]), 10.0), grid).share(slice(0, 20))
    assert share is not None
    distance = np.hypot(*np.meshgrid(grid.axes[1], grid.axes[2], indexing="ij"))
    assert share[:, distance < 8].mean() > 0.98
    assert share[:, distance < 8].min() > 0.6
    assert share[:, distance > 12.1].max() == 0


def test_slabs_agree_with_the_whole() -> None:
    grid = Grid.fit((12, 20, 20), (2.0, 2.0, 2.0))
    paint = TubePaint(Tubes.line(np.array([[-15.0, -9.0, -14.0], [12.0, 9.0, 14.0]]), 2.5), grid)
    whole = paint.share(slice(0, 12))
    assert whole is not None
    parts = [paint.share(slice(d, d + 3)) for d in range(0, 12, 3)]
    joined = np.concatenate([np.zeros((3, 20, 20)) if part is None else part for part in parts])
    np.testing.assert_allclose(joined, whole, atol=1e-5)
    assert TubePaint(Tubes.line(np.array([[0.0, 0, 500], [0, 0, 510]]), 2.0), grid).share(slice(0, 12)) is None


def test_walls() -> None:
    tubes = Tubes.line(np.array([[0.0, 0, 0], [0, 0, 5], [0, 0, 9]]), np.array([3.0, 2.0, 0.5]))
    inside = tubes.shrunk(1.0)
    assert len(inside.start) == 1
    np.testing.assert_allclose(inside.radius, [[2.0, 1.0]])
