"""Grey values: Hounsfield units to the unit interval, for numpy arrays and for tensors alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np

from covidct.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ("window_hu",)


@overload
def window_hu(hu: NDArray[Any], low: float = ..., high: float = ...) -> NDArray[np.float32]: ...
@overload
def window_hu(hu: Tensor, low: float = ..., high: float = ...) -> Tensor: ...
def window_hu(hu: NDArray[Any] | Tensor, low: float = -1250.0, high: float = 250.0) -> NDArray[np.float32] | Tensor:
    """Map a window of Hounsfield units linearly to [0, 1]; what lies outside is clipped.

    Args:
        hu: any shape, any real dtype, in HU.
        low: HU that becomes 0. The default window, -1250 to 250 HU, is the one of COVNet's published data set code.
        high: HU that becomes 1.

    Returns:
        Same shape and kind (array or tensor, same device) as ``hu``, float32 in [0, 1]. NaN stays NaN.

    Raises:
        UsageError: when the window is empty.
    """
    if not low < high:
        raise UsageError(f"The window [{low}, {high}] is empty: give (low, high) in HU with low < high.")
    if isinstance(hu, np.ndarray):
        unit = hu.astype(np.float32)
        unit -= np.float32(low)
        unit /= np.float32(high - low)
        return np.clip(unit, 0.0, 1.0, out=unit)
    return ((hu.float() - low) / (high - low)).clamp(0.0, 1.0)
