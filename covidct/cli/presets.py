"""``--trainer=gpu-bf16``: the trainers that the library ships, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from covidct.cli.list import trainer_presets
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("with_presets",)


def with_presets(argv: Sequence[str]) -> list[str]:
    """Arguments in which the name of a shipped trainer has become the path of its file.

    Args:
        argv: arguments of a verb; ``--trainer=NAME`` and ``--trainer NAME`` are looked at, and stay where NAME is a
            file or no name.

    Raises:
        UsageError: for a name that no shipped trainer has.
    """
    found = list(argv)
    for place, argument in enumerate(argv):
        if argument.startswith("--trainer="):
            found[place] = f"--trainer={_resolved(argument.partition('=')[2])}"
        elif place and argv[place - 1] == "--trainer":
            found[place] = _resolved(argument)
    return found


def _resolved(name: str) -> str:
    """The path that a name stands for."""
    presets = trainer_presets()
    path = presets.get(name.replace("_", "-"))
    if path is not None:
        return str(path)
    if Path(name).is_file() or not name.replace("-", "").replace("_", "").isalnum():
        return name  # a file, or arguments in braces
    raise UsageError(f"There is no trainer {name!r}: use one of {', '.join(presets)}, or the path of a YAML file.")
