"""``find_device``: the device that a command runs on."""

from __future__ import annotations

import torch

from covidct.errors import UsageError

__all__ = ("find_device",)


def find_device(name: str) -> torch.device:
    """The device of a name, tried out.

    Args:
        name: ``"auto"`` (CUDA when there is one, else the CPU) or a torch device such as ``"cuda:1"``.

    Raises:
        UsageError: when there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"There is no device {name!r} here: use 'auto' or 'cpu'; `covidct doctor` lists devices."
        ) from error
