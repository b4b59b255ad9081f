"""States of networks: names to tensors, copied where all of them fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from covidct.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = ("batch_counters", "load_state")

_LISTED_KEYS = 5


def load_state(
    module: nn.Module, state: Mapping[str, Tensor], *, source: str, error: type[WeightsError] = WeightsError
) -> None:
    """Copy ``state`` into ``module``; every name and shape must agree.

    Args:
        module: the network or task.
        state: names to tensors.
        source: where the tensors come from, for the message (a file name).
        error: class of the error to raise.

    Raises:
        WeightsError: lists the first five missing, unexpected and unlike entries; nothing has been copied then.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    unlike = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    faults = [
        f"{len(names)} {what}: {', '.join(names[:_LISTED_KEYS])}{', ...' if len(names) > _LISTED_KEYS else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", unlike))
        if names
    ]
    if faults:
        raise error(
            f"The weights of {source} do not fit {type(module).__name__} ({'; '.join(faults)}): "
            "they belong to another network or to other hyper-parameters."
        )
    module.load_state_dict(dict(state), strict=True)


def batch_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers of batches that batch normalisation has seen, for states of before PyTorch 0.4.1, which have none.

    torchvision publishes such files to this day. ``torch.nn.BatchNorm2d`` fills the counters up with 0 in the same way,
    and none of ours reads them.

    Args:
        state: names to tensors.

    Returns:
        Name of the counter to () int64, for each running mean of ``state``.
    """
    means = [name for name in state if name.endswith(".running_mean")]
    return {name.removesuffix("running_mean") + "num_batches_tracked": torch.tensor(0) for name in means}
