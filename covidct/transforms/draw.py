"""Some slices of a prepared volume, drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ("draw_slices",)

_DEPTH: Mapping[str, int] = {"image": 1, "lung_mask": 1, "lesion_mask": 1, "slice_label": 0, "slice_mask": 0}
_STREAM = 0x51C35  # keeps the draw apart from the augmentation, which has the same seed


def draw_slices(
    prepared: Mapping[str, NDArray[Any]], count: int, *, seed: int | Sequence[int]
) -> dict[str, NDArray[Any]]:
    """Draw slices without replacement and keep them in their order.

    Padding and slices of a cube outside the scan are left out first. What is left of a volume has no even spacing
    along the body axis and no affine.

    Args:
        prepared: a volume, as :func:`covidct.transforms.prepare_volume` gives it.
        count: how many slices; a volume with fewer real ones gives all of them.
        seed: the draw follows from it alone.

    Returns:
        The same arrays, as :func:`covidct.transforms.prepare_volume` gives them, with D at most ``count`` and without
        ``affine``; the first of ``spacing`` is NaN.
    """
    depth = prepared["image"].shape[1]
    real = np.flatnonzero(prepared["slice_mask"]) if "slice_mask" in prepared else np.arange(depth)
    if len(real) > count:
        words = [seed] if isinstance(seed, int) else list(seed)
        rng = np.random.default_rng((_STREAM, *words))
        real = np.sort(rng.choice(real, count, replace=False))
    drawn = {
        key: np.take(value, real, axis=_DEPTH[key]) if key in _DEPTH else value
        for key, value in prepared.items()
        if key != "affine"
    }
    if "spacing" in drawn:
        drawn["spacing"] = np.array([np.nan, *drawn["spacing"][1:]], dtype=np.float32)
    return drawn
