"""Grey values: Hounsfield units to the unit interval, for numpy arrays and for tensors alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from covidct.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ("check_window", "tone_map", "window_hu")

_GREY = 255.0  # the only scale on which the constants of tone_map act


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
        Same shape and kind as ``hu`` (array or tensor, same device), float32 in [0, 1]. NaN stays NaN.

    Raises:
        UsageError: when the window is empty.
    """
    check_window(low, high)
    if isinstance(hu, np.ndarray):
        unit = hu.astype(np.float32)
        unit -= np.float32(low)
        unit /= np.float32(high - low)
        return np.clip(unit, 0.0, 1.0, out=unit)
    return ((hu.float() - low) / (high - low)).clamp(0.0, 1.0)


def check_window(low: float, high: float) -> None:
    """Refuse a window that is none, so that it can be said before anything is read.

    Raises:
        UsageError: when it is empty or not finite.
    """
    if not (low < high and math.isfinite(high - low)):
        raise UsageError(
            f"The window [{low}, {high}] is empty or without an end: give (low, high) in HU with low < high."
        )


@overload
def tone_map(image: NDArray[Any], *, slope: float = ..., gamma: float = ..., rescale: bool = ...) -> NDArray[Any]: ...
@overload
def tone_map(image: Tensor, *, slope: float = ..., gamma: float = ..., rescale: bool = ...) -> Tensor: ...
def tone_map(
    image: NDArray[Any] | Tensor, *, slope: float = 0.35, gamma: float = 1.5, rescale: bool = True
) -> NDArray[Any] | Tensor:
    """Inverse gamma, then a sigmoid: I_out = 1 / (1 + exp(-slope I^(1/gamma))).

    Source: the document of the ResNeXt+ system, section III-A2, equation 5.

    The equation is meant for grey values of 0 to 255: fed with [0, 1] it is nearly constant (0.5 to 0.587), and
    negative HU have no real power. Dark detail (lungs) is stretched, bright tissue is crushed.

    Args:
        image: any shape, float in [0, 1], values outside are clipped; 1 stands for grey value 255.
        slope: a of the equation; 0.35 in the document.
        gamma: of the equation; 1.5 in the document.
        rescale: map the result, 0.5 to almost 1, to [0, 1] (recommendation); False gives the equation's value.

    Returns:
        Same shape and kind as ``image`` (array or tensor, same device), float32.

    Raises:
        UsageError: when slope or gamma is not positive.
    """
    if slope <= 0 or gamma <= 0:
        raise UsageError(f"slope={slope} and gamma={gamma} must be positive.")
    # (sigmoid(u) - 1/2) / (sigmoid(u_255) - 1/2) = tanh(u / 2) / tanh(u_255 / 2): no difference of like numbers
    brightest = math.tanh(slope * _GREY ** (1 / gamma) / 2)
    share, lift = (1 / brightest, 0.0) if rescale else (0.5, 0.5)
    if isinstance(image, np.ndarray):
        grey = np.clip(image.astype(np.float32), 0, 1) * np.float32(_GREY)
        curve = np.tanh(np.float32(slope / 2) * grey ** np.float32(1 / gamma))
        return np.asarray(curve * np.float32(share) + np.float32(lift), dtype=np.float32)
    return (image.float().clamp(0, 1) * _GREY).pow(1 / gamma).mul(slope / 2).tanh() * share + lift
