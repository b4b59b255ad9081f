"""One sentence where another process of a training has ended, in place of what the transport says."""

from __future__ import annotations

import logging
import re

import torch

from covidct.cli.console import error
from covidct.errors import CovidctError

__all__ = ("lost_process", "tell_of_lost_processes")

_OBSERVER = (
    "lightning_fabric.strategies.launchers.subprocess_script"  # it ends the other processes, and says so at INFO
)
_TRANSPORT = re.compile(
    r"gloo|nccl|connection (?:reset|closed|refused)|broken pipe|socket|process ?group", re.IGNORECASE
)
_ADVICE = (
    "look at what that process said, or at the system's log where it was killed for memory, and go on from the last "
    "checkpoint with --ckpt_path=auto"
)


def lost_process(problem: RuntimeError) -> CovidctError | None:
    """What to raise in place of an error of the transport between processes; None for any other error."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return None
    if not _TRANSPORT.search(str(problem)):
        return None
    return CovidctError(
        f"Another process of this training has ended, or cannot be reached (process {distributed.get_rank()} of "
        f"{distributed.get_world_size()} noticed): {_ADVICE}."
    )


def tell_of_lost_processes() -> None:
    """Let Lightning's watch over the processes of a machine be heard before it ends them all."""
    logger = logging.getLogger(_OBSERVER)
    if not any(isinstance(handler, _Told) for handler in logger.handlers):
        logger.addHandler(_Told())
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _Told(logging.Handler):
    """Says the same in words of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line on stderr."""
        found = re.search(r"code (-?\d+)", record.getMessage())
        code = f" with code {found[1]}" if found else ""
        error(f"Another process of this training has ended{code}, so all are stopped: {_ADVICE}.")
