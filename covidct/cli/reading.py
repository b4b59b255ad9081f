"""``reading``: progress over the scans of a cohort in at most fifty steps; where stderr is a file, each is a line."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from covidct.cli.console import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("reading",)

_STEPS = 50


@contextmanager
def reading(total: int, what: str = "") -> Iterator[Callable[[str], None]]:
    """Show how many scans are read.

    Args:
        total: number of scans.
        what: name of the cohort, where there are several.

    Yields:
        A function to call after each scan with its name.
    """
    done, steps = 0, min(total, _STEPS)
    with progress(steps, " ".join(["reading", *([what] if what else [])]) + ", part") as step:

        def on_scan(name: str) -> None:
            nonlocal done
            done += 1
            if done * steps // total > (done - 1) * steps // total:
                step(f"up to {name}")

        yield on_scan
