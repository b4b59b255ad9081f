"""``--trainer=gpu-bf16``, ``-c masked_gap_resnet``: trainers and configurations that the library ships, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from covidct.cli.list import config_folder, trainer_presets
from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("with_presets",)


def with_presets(argv: Sequence[str]) -> list[str]:
    """Arguments in which the name of a shipped trainer or configuration has become the path of its file.

    Args:
        argv: arguments of a verb. ``--trainer=NAME``, ``--config=NAME`` and ``-c NAME`` are looked at, the values of
            configurations with or without ``.yaml``; they stay where NAME is a file or no name.

    Raises:
        UsageError: for a name that no shipped trainer has.
    """
    found = list(argv)
    for place, argument in enumerate(argv):
        option, equals, value = argument.partition("=")
        if equals and option in _RESOLVED:
            found[place] = f"{option}={_RESOLVED[option](value)}"
        elif place and argv[place - 1] in _RESOLVED:
            found[place] = _RESOLVED[argv[place - 1]](argument)
    return found


def _trainer(name: str) -> str:
    """The path that the name of a trainer stands for."""
    presets = trainer_presets()
    path = presets.get(name.replace("_", "-"))
    if path is not None:
        return str(path)
    if Path(name).is_file() or not name.replace("-", "").replace("_", "").isalnum():
        return name  # a file, or arguments in braces
    raise UsageError(f"There is no trainer {name!r}: use one of {', '.join(presets)}, or the path of a YAML file.")


def _config(name: str) -> str:
    """The path that the name of a configuration stands for; a file of that name comes first."""
    shipped = config_folder() / f"{name.removesuffix('.yaml')}.yaml"
    own = Path(name).exists() or Path(name).name != name
    return name if own or not shipped.is_file() else str(shipped)


_RESOLVED: dict[str, Callable[[str], str]] = {"--trainer": _trainer, "--config": _config, "-c": _config}
