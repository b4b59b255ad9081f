"""The order of file names, and words that follow numbers."""

from __future__ import annotations

import re

__all__ = ("counted", "natural_key")


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts ``slice10`` behind ``slice9``, whatever the case of letters."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part], name


def counted(number: int, one: str, many: str) -> str:
    """``counted(1, "slice is", "slices are")`` is ``"1 slice is"``."""
    return f"{number} {one if number == 1 else many}"
