"""Branching lung vessels and airways: trees that fill a cloud of points by repeated halving.

Each node halves its share of the points across their widest direction and sends a branch towards the middle of either
half; radii follow Murray's law (the cube of the parent's radius is about the sum of the cubes of its children's).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidct.phantom.tubes import Tubes

if TYPE_CHECKING:
    from numpy.typing import NDArray

MURRAY = 3.0
"""Exponent of Murray's law; those measured in human lungs lie between 2.3 and 3."""


def grow_tree(
    root: NDArray[np.float64],
    targets: NDArray[np.float64],
    *,
    leaf_radius: float,
    levels: int,
    reach: float = 0.38,
    taper: float = MURRAY,
) -> list[Tubes]:
    """Grow one tree.

    Args:
        root: (3,) where the tree enters the lung.
        targets: (N, 3) points to be supplied, N >= 2 ** levels.
        leaf_radius: radius of the last branches in mm.
        levels: how often the points are halved.
        reach: share of the way to the middle of its points that a branch goes.
        taper: exponent of the law of the radii; larger means that branches thin out less.

    Returns:
        One set of segments a level, the trunk first.
    """
    size = len(targets) >> levels << levels
    groups = targets[:size][None]
    at = root[None]
    grown: list[Tubes] = []
    for level in range(levels + 1):
        middle = groups.mean(axis=1)
        share = reach if level < levels else 0.8
        end = at + share * (middle - at)
        radius = leaf_radius * 2.0 ** ((levels - level) / taper)
        child = leaf_radius * 2.0 ** ((levels - level - 0.6) / taper)
        grown.append(Tubes(at, end, np.broadcast_to([radius, child], (len(at), 2))))
        if level == levels:
            break
        spread = groups - middle[:, None]
        axis = np.linalg.eigh(np.einsum("gni,gnj->gij", spread, spread))[1][:, :, -1]
        order = np.argsort(np.einsum("gni,gi->gn", spread, axis), axis=1, kind="stable")
        halves = np.take_along_axis(groups, order[:, :, None], axis=1)
        groups = halves.reshape(2 * len(groups), -1, 3)
        at = np.repeat(end, 2, axis=0)
    return grown
