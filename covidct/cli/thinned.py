"""Fewer steps of a progress bar than there are scans: where stderr is a file, each step is a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("STEPS", "thinned")

STEPS = 50


def thinned(step: Callable[[str], None], total: int) -> Callable[[str], None]:
    """A function to call after each of ``total`` scans with its name.

    Args:
        step: of :func:`covidct.cli.console.progress`, for ``min(total, STEPS)`` steps; it is called so many times, the
            last at the end.
        total: number of scans.
    """
    done = 0
    steps = min(total, STEPS)

    def on_scan(name: str) -> None:
        nonlocal done
        done += 1
        if done * steps // total > (done - 1) * steps // total:
            step(f"up to {name}")

    return on_scan
