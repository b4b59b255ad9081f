"""Stochastic enhancement of CT slices: local contrast and detail from random walks and random samples.

Source: the document of the ResNeXt+ system, section III-A1, equations 1 to 4, with its section V-D for the constants.
Where its equations cannot mean what they say (registered errors of the document) the mended reading is the default and
the literal one an option.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, overload

import cv2
import numpy as np

from covidct.errors import UsageError
from covidct.functional.parallel import over_blocks

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ("gradient_strength", "stochastic_enhance")

Reading = Literal["mended", "literal"]

_DISC_STREAM = 0x5BD1E995  # parts the disc's random numbers from the walks'
_ROWS = 16  # of a slice per task of a thread
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
_DISC_PLACES = 1024  # 10 bits of a hash
_BRIGHTEST = 1 + 1e-5  # room for rounding


@overload
def stochastic_enhance(
    image: NDArray[Any],
    *,
    seed: int = ...,
    walks: int = ...,
    steps: int = ...,
    sigma_intensity: float = ...,
    sigma_gradient: float = ...,
    mixing: float = ...,
    gain: float = ...,
    rounds: int = ...,
    samples: int = ...,
    radius: int = ...,
    shared_walks: bool = ...,
    reading: Reading = ...,
) -> NDArray[np.float32]: ...
@overload
def stochastic_enhance(
    image: Tensor,
    *,
    seed: int = ...,
    walks: int = ...,
    steps: int = ...,
    sigma_intensity: float = ...,
    sigma_gradient: float = ...,
    mixing: float = ...,
    gain: float = ...,
    rounds: int = ...,
    samples: int = ...,
    radius: int = ...,
    shared_walks: bool = ...,
    reading: Reading = ...,
) -> Tensor: ...
def stochastic_enhance(
    image: NDArray[Any] | Tensor,
    *,
    seed: int = 0,
    walks: int = 250,
    steps: int = 20,
    sigma_intensity: float = 0.5,
    sigma_gradient: float = 0.3,
    mixing: float = 0.5,
    gain: float = 1.0,
    rounds: int = 20,
    samples: int = 250,
    radius: int = 20,
    shared_walks: bool = False,
    reading: Reading = "mended",
) -> NDArray[np.float32] | Tensor:
    """Smooth along random walks, and add back local contrast and detail: equations 1 to 4.

    ``I_enh = gain D + I_base``, ``D = mixing D1 + (1 - mixing) D2``, clipped to [0, 1]:

    * ``I_base``: from each pixel ``walks`` walks of ``steps`` uniform steps to one of 8 neighbours, reflected at the
      border. A walk's mean grey value counts with weight ``exp(-A / sigma_intensity - V / sigma_gradient)``: A is the
      mean of ``|x_0 - x_k|`` along the walk, V the sum of ``|s_k+1 - s_k|``, the variation of
      :func:`gradient_strength`, which tells whether edges were crossed.
    * ``D1``: lightness and darkness by stochastic sampling: the pixel's place between the darkest and the brightest of
      ``samples`` random pixels in a disc around it, averaged over ``rounds``, less 1/2 (the envelopes of STRESS,
      Kolas, Farup and Rizzi 2011, which the enhancement's authors build on).
    * ``D2 = I - I_base``.

    The literal reading follows the printed equations: a sum in place of the mean in A, ``|s_k - s_0|`` in V (equation 3
    telescopes), one walk more (j = 0..M), and x_0 in place of the walk's mean in equation 4, which makes the base layer
    the image itself.

    Every random number is an integer hash of seed, pixel, walk and step: the same seed gives the same image, on the CPU
    and, to 1e-5, on a GPU. All slices of a stack use the same numbers: a slice alone and in its stack are alike.

    Args:
        image: (H, W) or (N, H, W), float in [0, 1], an array or a tensor; at least 2 pixels a side.
        seed: any integer, taken modulo 2^32.
        walks: M; 250 (document, section V-D).
        steps: n; 20 (document, section V-D).
        sigma_intensity: 0.5 (document, section V-D).
        sigma_gradient: 0.3 (document, section V-D).
        mixing: gamma of equation 1; 0.5 (recommendation; the document is silent).
        gain: K of equation 1; 1 (recommendation; the document is silent).
        rounds: of D1; 20 (document, section V-D: "iterations").
        samples: of D1 per round; 250 (document, section V-D: "samples in each iteration").
        radius: of the disc in pixels; 20, as far as a walk can reach (recommendation; the document is silent).
        shared_walks: all pixels take the same walks: faster, but the noise is then correlated between pixels.
        reading: ``"mended"`` or ``"literal"``.

    Returns:
        Same shape, kind and device as ``image``, float32 in [0, 1]. A constant image stays as it is.

    Raises:
        UsageError: for a value out of range, an image of another shape, or one that is not in [0, 1].
    """
    if image.ndim not in (2, 3) or min(image.shape[-2:]) < 2:
        raise UsageError(
            f"The image has shape {tuple(image.shape)}: give (H, W) or (N, H, W), 2 pixels a side or more."
        )
    counts = {"walks": walks, "steps": steps, "rounds": rounds, "samples": samples, "radius": radius}
    wrong = [f"{name}={value!r}" for name, value in counts.items() if type(value) is not int or value < 1]
    if wrong:
        raise UsageError(f"{', '.join(wrong)}: give whole numbers of at least 1.")
    if sigma_intensity <= 0 or sigma_gradient <= 0 or reading not in ("mended", "literal"):
        raise UsageError("sigma_intensity and sigma_gradient must be positive, reading 'mended' or 'literal'.")
    literal = reading == "literal"
    draw = _Draw(
        seed=seed % 2**32,
        walks=walks + literal,
        steps=steps,
        rates=(1 / (sigma_intensity * (1 if literal else steps + 1)), 1 / sigma_gradient),
        literal=literal,
        shared=shared_walks,
        rounds=rounds,
        samples=samples,
        radius=radius,
    )
    device = None if isinstance(image, np.ndarray) else image.device
    pixels = image if isinstance(image, np.ndarray) else image.detach().cpu().numpy()
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= _BRIGHTEST):  # NaN fails too
        raise UsageError(
            f"The image holds values from {pixels.min():g} to {pixels.max():g}: window or scale it to [0, 1] first."
        )
    out = np.empty(pixels.shape, np.float32)
    for plane, target in zip(_planes(pixels), _planes(out), strict=True):
        grey = np.ascontiguousarray(plane, dtype=np.float32)
        if device is not None and device.type != "cpu":
            base, place = _by_torch(grey, draw, device)
        elif literal:  # no matter of speed: its base layer is the image
            base, place = _by_torch(grey, draw, "cpu")
        else:
            base, place = _by_numba(grey, draw)
        detail = mixing * (place - 0.5) + (1 - mixing) * (grey - base)
        np.clip(base + gain * detail, 0.0, 1.0, out=target)
    if device is None:
        return out
    import torch

    return torch.from_numpy(out).to(device)


@dataclass(frozen=True, slots=True)
class _Draw:
    """What is drawn for every pixel."""

    seed: int
    walks: int
    steps: int
    rates: tuple[float, float]
    literal: bool
    shared: bool
    rounds: int
    samples: int
    radius: int


def _planes(stack: NDArray[Any]) -> NDArray[Any]:
    """(N, H, W) view of one or many slices."""
    return stack.reshape(-1, *stack.shape[-2:])


def gradient_strength(image: NDArray[np.float32], *, scale: float = 1.0) -> NDArray[np.float32]:
    """sqrt(lambda+ - lambda-) of the structure tensor: large on edges, 0 on flat ground and in the middle of spots.

    The tensor is the outer product of the gradient (Sobel, per pixel), smoothed by a Gaussian; the difference of its
    eigenvalues is sqrt((J_xx - J_yy)^2 + 4 J_xy^2).

    Args:
        image: (H, W) float32.
        scale: standard deviation of the Gaussian in pixels; 1 (recommendation; the document is silent).

    Returns:
        (H, W) float32, not negative.
    """
    border = cv2.BORDER_REFLECT_101
    across = cv2.Sobel(image, cv2.CV_32F, 1, 0, scale=1 / 8, borderType=border)
    down = cv2.Sobel(image, cv2.CV_32F, 0, 1, scale=1 / 8, borderType=border)
    products = np.stack((across * across, down * down, across * down), axis=-1)
    smooth = cv2.GaussianBlur(products, (0, 0), scale, borderType=border)
    split = (smooth[..., 0] - smooth[..., 1]) ** 2 + 4 * smooth[..., 2] ** 2
    return np.asarray(np.sqrt(np.sqrt(split)), dtype=np.float32)


def _padded(grey: NDArray[np.float32], pad: int) -> NDArray[np.float32]:
    """The image with mirrored borders: a walk that leaves it meets the pixels that a reflected one would."""
    return np.pad(grey, pad, mode="reflect")


def _by_numba(grey: NDArray[np.float32], draw: _Draw) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Base layer and place between the envelopes, on the CPU."""
    from covidct.functional.walk_kernels import disc_rows, shared_walk_rows, walk_rows

    both = np.stack([_padded(one, draw.steps).ravel() for one in (grey, gradient_strength(grey))])
    wide = _padded(grey, draw.radius).ravel()
    steps = _steps(grey.shape[1] + 2 * draw.steps).astype(np.uint64)
    disc = _disc(draw.radius, grey.shape[1] + 2 * draw.radius).astype(np.uint64)
    walk = shared_walk_rows if draw.shared else walk_rows
    planes = both if draw.shared else both[0] + 1j * both[1]
    rates = np.array(draw.rates, np.float32)
    seed, disc_seed = np.uint32(draw.seed), np.uint32(draw.seed ^ _DISC_STREAM)
    base, place = np.empty_like(grey), np.empty_like(grey)

    def work(rows: slice) -> None:
        part = (rows.start, rows.stop)
        walk(planes, part, steps, seed, draw.walks, draw.steps, rates, base)
        disc_rows(wide, part, draw.radius, disc, disc_seed, draw.rounds, draw.samples, place)

    over_blocks(work, len(grey), _ROWS)
    return base, place


def _by_torch(
    grey: NDArray[np.float32], draw: _Draw, device: torch.device | str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Base layer and place between the envelopes, on a device."""
    import torch

    from covidct.functional.walk_tensors import base_layer, disc_places

    def there(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    size = (grey.shape[0], grey.shape[1])
    both = np.stack([_padded(one, draw.steps).ravel() for one in (grey, gradient_strength(grey))], axis=1)
    base = base_layer(
        there(both),
        size,
        there(_steps(size[1] + 2 * draw.steps)),
        seed=draw.seed,
        walks=draw.walks,
        steps=draw.steps,
        rates=draw.rates,
        literal=draw.literal,
        shared=draw.shared,
    )
    place = disc_places(
        there(_padded(grey, draw.radius).ravel()),
        size,
        there(_disc(draw.radius, size[1] + 2 * draw.radius)),
        pad=draw.radius,
        seed=draw.seed ^ _DISC_STREAM,
        rounds=draw.rounds,
        samples=draw.samples,
    )
    return base.cpu().numpy(), place.cpu().numpy()


def _steps(stride: int) -> NDArray[np.int64]:
    """Steps to the 8 neighbours in an image stored row by row."""
    return np.array([down * stride + across for down, across in _NEIGHBOURS], dtype=np.int64)


@lru_cache(maxsize=8)
def _disc(radius: int, stride: int) -> NDArray[np.int64]:
    """Places of a disc in an image stored row by row; radius and angle evenly spread, so denser in the middle.

    STRESS samples so; the angles advance by the golden section, which covers every ring.
    """
    number = np.arange(_DISC_PLACES)
    distance = radius * (number + 0.5) / _DISC_PLACES
    angle = 2 * np.pi * number * (np.sqrt(5) - 1) / 2
    down, across = (np.rint(distance * turn(angle)).astype(np.int64) for turn in (np.sin, np.cos))
    return np.asarray(down * stride + across)
