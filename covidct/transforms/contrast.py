"""Contrast of scans and slices as the gate sees it: after the window, before enhancement and masking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covidct.functional import contrast_score, window_hu

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from covidct.preprocessing import Preprocessing

__all__ = ("contrast_of_slices", "contrast_of_stack")


def contrast_of_stack(array: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.float32] | None:
    """Contrast of a scan, the median over its slices.

    Args:
        array: (D, H, W) in HU, or in [0, 1] where the record has no window.
        preprocessing: whose ``contrast`` and ``window`` apply.

    Returns:
        () float32; None where the record asks for none.

    Raises:
        InputError: when no slice shows a body.
    """
    if preprocessing.contrast == "none":
        return None
    return np.array(contrast_score(_unit(array, preprocessing), measure=preprocessing.contrast), dtype=np.float32)


def contrast_of_slices(array: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.float32] | None:
    """Contrast of each slice alone; arguments and errors as for :func:`contrast_of_stack`, (D,) float32 returned."""
    if preprocessing.contrast == "none":
        return None
    scores = [contrast_score(one[None], measure=preprocessing.contrast) for one in _unit(array, preprocessing)]
    return np.array(scores, dtype=np.float32)


def _unit(array: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Windowed to [0, 1]."""
    unit: NDArray[np.float32]
    if preprocessing.window is None:
        unit = np.clip(array, 0.0, 1.0).astype(np.float32, copy=False)
    else:
        unit = window_hu(array, *preprocessing.window)
    return unit
