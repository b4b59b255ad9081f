"""The kernels of :mod:`covidct.functional.walk_kernels` with torch, for images that live on a GPU.

All pixels and a chunk of the walks advance together. The random numbers are the same integers; int32 arithmetic wraps
around as uint32 does, and shifts are cut to what they would be without a sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("base_layer", "disc_places")

_CHUNK = 1 << 24  # walkers at a time: 64 MiB per tensor of int32
_STEPS_PER_HASH = 10


def _signed(x: int) -> int:
    return x - (1 << 32) if x >= 1 << 31 else x


_A, _B, _GOLDEN = (_signed(x) for x in (0x7FEB352D, 0x846CA68B, 0x9E3779B9))


def _mix(x: Tensor) -> Tensor:
    x = (x ^ (x >> 16 & 0xFFFF)) * _A
    x = (x ^ (x >> 15 & 0x1FFFF)) * _B
    return x ^ (x >> 16 & 0xFFFF)


def _keys(count: int, seed: int, device: torch.device) -> Tensor:
    """(count, 1) int32, one key per pixel."""
    pixels = torch.arange(count, dtype=torch.int32, device=device)[:, None]
    return _mix(_mix(pixels) ^ _signed(seed))


def _starts(height: int, width: int, pad: int, device: torch.device) -> Tensor:
    """(H W, 1) int64 place of each pixel in the padded image."""
    rows = torch.arange(pad, pad + height, device=device)[:, None] * (width + 2 * pad)
    return (rows + torch.arange(pad, pad + width, device=device)).reshape(-1, 1)


def base_layer(
    planes: Tensor,
    size: tuple[int, int],
    offsets: Tensor,
    *,
    seed: int,
    walks: int,
    steps: int,
    rates: tuple[float, float],
    literal: bool,
    shared: bool,
) -> Tensor:
    """Base layer of an image; see :func:`covidct.functional.walk_kernels.walk_rows`.

    Args:
        planes: (P, 2) float32, grey value and gradient strength of the image padded by ``steps``.
        size: (H, W) of the image.
        offsets: (8,) int64 steps to the neighbours in ``planes``.
        seed: 32 bits.
        walks: number of walks.
        steps: of each walk.
        rates: factors of the two sums in the exponent.
        literal: whether the printed equations are followed.
        shared: whether all pixels share their walks.

    Returns:
        (H, W) float32.
    """
    device = planes.device
    start = _starts(*size, steps, device)
    key = _keys(1 if shared else len(start), seed, device)
    values, strengths = planes.unbind(1)
    here, edge = values[start], strengths[start]
    weights, weighted = torch.zeros_like(here), torch.zeros_like(here)
    chunk = max(1, _CHUNK // len(start))
    for first in range(0, walks, chunk):
        numbers = torch.arange(first, min(first + chunk, walks), dtype=torch.int32, device=device)
        state = _mix(key + numbers * _GOLDEN)
        place, before = start, edge
        away = variation = torch.zeros_like(here)
        total = here
        bits = state
        for k in range(steps):
            if k % _STEPS_PER_HASH == 0:
                bits = _mix(state + k // _STEPS_PER_HASH)
            place = place + offsets[(bits >> 3 * (k % _STEPS_PER_HASH) & 7).long()]
            value, strength = values[place], strengths[place]
            away = away + (value - here).abs()
            variation = variation + (strength - before).abs()
            total = total + value
            before = edge if literal else strength
        weight = torch.exp(-away * rates[0] - variation * rates[1])
        weights += weight.sum(1, keepdim=True)
        weighted += (weight * (here if literal else total / (steps + 1))).sum(1, keepdim=True)
    return torch.where(weights > 0, weighted / weights, here).reshape(size)


def disc_places(
    values: Tensor, size: tuple[int, int], offsets: Tensor, *, pad: int, seed: int, rounds: int, samples: int
) -> Tensor:
    """Mean place of each pixel between random envelopes; see :func:`covidct.functional.walk_kernels.disc_rows`.

    Args:
        values: (P,) float32, the image padded by ``pad``.
        size: (H, W) of the image.
        offsets: (1024,) int64 places of the disc in ``values``.
        pad: padding of ``values``.
        seed: 32 bits.
        rounds: how many pairs of envelopes are averaged.
        samples: drawn for each round.

    Returns:
        (H, W) float32 in [0, 1].
    """
    start = _starts(*size, pad, values.device)
    key = _keys(len(start), seed, values.device)
    here = values[start]
    place = torch.zeros_like(here)
    hashes = -(-samples // 3)
    chunk = max(1, _CHUNK // len(start))
    for number in range(rounds):
        low = high = here
        for first in range(0, hashes, chunk):
            counters = torch.arange(first, min(first + chunk, hashes), dtype=torch.int32, device=values.device)
            bits = _mix(key + (counters + number * hashes) * _GOLDEN)
            for turn in range(3):
                drawn = bits[:, : (samples - turn + 2) // 3 - first]  # the last hash of a round may serve fewer
                if not drawn.shape[1]:
                    continue
                sample = values[start + offsets[(drawn >> 10 * turn & 1023).long()]]
                low = torch.minimum(low, sample.amin(1, keepdim=True))
                high = torch.maximum(high, sample.amax(1, keepdim=True))
        width = high - low
        place += torch.where(width > 0, (here - low) / width.clamp(min=torch.finfo(torch.float32).tiny), 0.5)
    return (place / rounds).reshape(size)
