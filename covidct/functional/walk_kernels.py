"""Compiled kernels of the stochastic enhancement: random walks and disc samples from a counter-based generator.

Every random number is an integer hash of (seed, pixel, walk, step): no state, so that a result depends neither on the
number of threads nor on the device; :mod:`covidct.functional.walk_tensors` draws the very same numbers with torch.
Import this module at the first use only: numba costs a second; the machine code is then cached on disk.
"""

# ruff: noqa: ANN401 - numba infers the types

from __future__ import annotations

from functools import partial
from typing import Any

import numba
import numpy as np

__all__ = ("disc_rows", "shared_walk_rows", "walk_rows")


def _jit(function: Any, *, inline: str = "never") -> Any:
    """Compile at the first call; the machine code is kept on disk where numba finds a folder that it may write to."""
    compiler: Any = {"nogil": True, "fastmath": True, "boundscheck": False, "inline": inline}
    try:
        return numba.njit(cache=True, **compiler)(function)
    except RuntimeError:  # a read-only installation and no home folder
        return numba.njit(**compiler)(function)


# "lowbias32" of C. Wellons' hash prospector (public domain): two multiplications, avalanche bias 0.17.
_A, _B = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_GOLDEN = np.uint32(0x9E3779B9)  # 2^32 / golden ratio: spreads consecutive counters
_S15, _S16 = np.uint32(15), np.uint32(16)
_NEIGHBOUR = np.uint32(7)  # 3 bits a step, one of 8 neighbours
_PLACE = np.uint32(1023)  # 10 bits a sample, one of 1024 places of the disc
_TEN = np.uint32(10)
_STEPS_PER_HASH = 10


@_jit
def _mix(x: Any) -> Any:
    # numba widens products of uint32 to uint64: each step is cut back to 32 bits
    x = np.uint32(x ^ (x >> _S16))
    x = np.uint32(x * _A)
    x = np.uint32(x ^ (x >> _S15))
    x = np.uint32(x * _B)
    return np.uint32(x ^ (x >> _S16))


@partial(_jit, inline="always")
def _step(planes: Any, walk: Any, bits: Any, k: Any, offsets: Any, here: Any) -> Any:
    """Step ``k`` of a walk, whose state is its place, its sums and the gradient strength there."""
    place, away, variation, total, before = walk
    place = np.uint64(place + offsets[np.uint32(bits >> np.uint32(3 * k)) & _NEIGHBOUR])
    value, strength = planes[place].real, planes[place].imag
    return place, away + abs(value - here), variation + abs(strength - before), total + value, strength


@partial(_jit, inline="always")
def _steps(planes: Any, one: Any, two: Any, bits: Any, others: Any, count: Any, offsets: Any, here: Any) -> Any:
    """``count`` steps of two walks, so that the processor can do both at once; a constant count is unrolled."""
    for k in range(count):
        one = _step(planes, one, bits, k, offsets, here)
        two = _step(planes, two, others, k, offsets, here)
    return one, two


@_jit
def walk_rows(
    planes: Any,
    rows: Any,
    offsets: Any,
    seed: Any,
    walks: Any,
    steps: Any,
    rates: Any,
    out: Any,
) -> None:
    """Base layer of some rows from walks of their own for every pixel.

    Args:
        planes: (P,) complex64, grey value + i gradient strength of the padded image, row by row: one load for both.
        rows: (first, last) row of the image.
        offsets: (8,) uint64 steps to the neighbours in ``planes``, modulo 2^64.
        seed: uint32.
        walks: number of walks.
        steps: of each walk; also the padding of ``planes``.
        rates: (2,) float32 factors of the two sums in the exponent.
        out: (H, W) float32, written.
    """
    width = out.shape[1]
    stride = width + 2 * steps
    full, rest = steps // _STEPS_PER_HASH, steps % _STEPS_PER_HASH
    zero = np.float32(0.0)
    for row in range(rows[0], rows[1]):
        for column in range(width):
            start = np.uint64((row + steps) * stride + column + steps)  # numba tests signed indices for being negative
            here, edge = planes[start].real, planes[start].imag
            key = _mix(np.uint32(seed ^ _mix(np.uint32(row * width + column))))
            weights, weighted = zero, zero
            begin = (start, zero, zero, here, edge)
            for walk in range(0, walks, 2):
                one = two = begin
                first = _mix(np.uint32(key + np.uint32(walk) * _GOLDEN))
                second = _mix(np.uint32(key + np.uint32(walk + 1) * _GOLDEN))
                for block in range(full):
                    bits, others = _mix(np.uint32(first + np.uint32(block))), _mix(np.uint32(second + np.uint32(block)))
                    one, two = _steps(planes, one, two, bits, others, _STEPS_PER_HASH, offsets, here)
                bits, others = _mix(np.uint32(first + np.uint32(full))), _mix(np.uint32(second + np.uint32(full)))
                one, two = _steps(planes, one, two, bits, others, rest, offsets, here)
                weight = np.exp(-one[1] * rates[0] - one[2] * rates[1])
                other = np.exp(-two[1] * rates[0] - two[2] * rates[1]) if walk + 1 < walks else zero
                weights += weight + other
                weighted += (weight * one[3] + other * two[3]) / np.float32(steps + 1)
            out[row, column] = weighted / weights if weights > 0 else here  # no walk counts: all weights are too small


@_jit
def shared_walk_rows(
    planes: Any,
    rows: Any,
    offsets: Any,
    seed: Any,
    walks: Any,
    steps: Any,
    rates: Any,
    out: Any,
) -> None:
    """Base layer of some rows from walks that all pixels share; see :func:`walk_rows`, but planes is (2, P) float32."""
    width = out.shape[1]
    stride = width + 2 * steps
    key = _mix(np.uint32(seed ^ _mix(np.uint32(0))))
    sums = np.empty((6, width), np.float32)
    away, variation, total, before, weights, weighted = sums
    for row in range(rows[0], rows[1]):
        start = (row + steps) * stride + steps
        here, edge = planes[0, start : start + width], planes[1, start : start + width]
        weights[:] = 0
        weighted[:] = 0
        for walk in range(walks):
            state = _mix(np.uint32(key + np.uint32(walk) * _GOLDEN))
            bits, place = state, np.uint64(start)
            away[:] = 0
            variation[:] = 0
            total[:] = here
            before[:] = edge
            for k in range(steps):
                if k % _STEPS_PER_HASH == 0:
                    bits = _mix(np.uint32(state + np.uint32(k // _STEPS_PER_HASH)))
                place = np.uint64(place + offsets[bits & _NEIGHBOUR])
                bits = np.uint32(bits >> np.uint32(3))
                first = np.int64(place)
                values, strengths = planes[0, first : first + width], planes[1, first : first + width]
                for i in range(width):
                    away[i] += abs(values[i] - here[i])
                    variation[i] += abs(strengths[i] - before[i])
                    total[i] += values[i]
                    before[i] = strengths[i]
            for i in range(width):
                weight = np.exp(-away[i] * rates[0] - variation[i] * rates[1])
                weights[i] += weight
                weighted[i] += weight * total[i] / np.float32(steps + 1)
        for i in range(width):
            out[row, i] = weighted[i] / weights[i] if weights[i] > 0 else here[i]


@_jit
def disc_rows(
    values: Any,
    rows: Any,
    pad: Any,
    offsets: Any,
    seed: Any,
    rounds: Any,
    samples: Any,
    out: Any,
) -> None:
    """Mean place of each pixel between the darkest and the brightest of random samples around it.

    Args:
        values: (P,) float32, the padded image, row by row.
        rows: (first, last) row of the image.
        pad: padding of ``values``.
        offsets: (1024,) uint64 places of the disc in ``values``, modulo 2^64.
        seed: uint32.
        rounds: how many pairs of envelopes are averaged.
        samples: drawn for each round.
        out: (H, W) float32 in [0, 1], written.
    """
    width = out.shape[1]
    stride = width + 2 * pad
    full, rest = samples // 3, samples % 3
    hashes = full + (rest > 0)
    for row in range(rows[0], rows[1]):
        for column in range(width):
            start = np.uint64((row + pad) * stride + column + pad)
            here = values[start]
            key = _mix(np.uint32(seed ^ _mix(np.uint32(row * width + column))))
            place = np.float32(0.0)
            for number in range(rounds):
                low = high = here
                state = np.uint32(key + np.uint32(number * hashes) * _GOLDEN)
                for _ in range(full):
                    bits = _mix(state)
                    state = np.uint32(state + _GOLDEN)
                    one = values[np.uint64(start + offsets[bits & _PLACE])]
                    two = values[np.uint64(start + offsets[np.uint32(bits >> _TEN) & _PLACE])]
                    three = values[np.uint64(start + offsets[np.uint32(bits >> np.uint32(20)) & _PLACE])]
                    low = min(min(low, one), min(two, three))
                    high = max(max(high, one), max(two, three))
                bits = _mix(state)
                for _ in range(rest):
                    one = values[np.uint64(start + offsets[bits & _PLACE])]
                    bits = np.uint32(bits >> _TEN)
                    low, high = min(low, one), max(high, one)
                place += (here - low) / (high - low) if high > low else np.float32(0.5)
            out[row, column] = place / np.float32(rounds)
