"""A few threads over blocks of slices: OpenCV, numpy and scipy.sparse let go of the interpreter lock at work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("over_blocks",)

_MOST = 4  # the work is bound by memory; more threads only crowd the machine


def over_blocks(work: Callable[[slice], None], count: int, block: int) -> None:
    """Call ``work`` on consecutive blocks of ``range(count)``, on as many threads as OpenCV may use, at most four.

    Args:
        work: gets the slice of one block; blocks write to disjoint places.
        count: how many items there are.
        block: items per call.
    """
    blocks = [slice(first, min(first + block, count)) for first in range(0, count, block)]
    threads = min(_MOST, cv2.getNumThreads(), len(blocks))
    if threads < 2:
        for part in blocks:
            work(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, part) for part in blocks]:
            done.result()
