"""From the rows a 2-D trunk worked on back to the slices of the volumes, and batches as networks take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from covidct.errors import BatchError, UsageError
from covidct.tasks import BaseTask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = ("cam_layer", "logits_of", "network_inputs", "network_of", "own", "place", "used_slices")


def network_of(model: nn.Module) -> nn.Module:
    """The network of a task; any other module is one itself."""
    return model.model if isinstance(model, BaseTask) else model


def cam_layer(network: nn.Module, layer: str | None) -> str:
    """The layer asked for, else the one the network names.

    Raises:
        UsageError: when neither names one.
    """
    found = getattr(network, "cam_layer", None) if layer is None else layer
    if not isinstance(found, str) or not found:
        raise UsageError(
            f"{type(network).__name__} does not say which layer gives its last feature map: name it with layer= "
            '("layer4" for a torchvision ResNet), or give the class an attribute cam_layer.'
        )
    return found


def own(model: nn.Module, batch: Mapping[str, Any] | Tensor | tuple[Any, ...]) -> Any:  # noqa: ANN401
    """The batch on the device of the model, in tensors that autograd takes.

    Args:
        model: a task or a network.
        batch: a batch of :mod:`covidct.sample` for a task; a tensor or the tuple of its arguments for a network.

    Raises:
        UsageError: when a network gets a dict, or a task no dict.
    """
    if isinstance(model, BaseTask) != isinstance(batch, dict):
        raise UsageError(
            f"{type(model).__name__} takes {'a batch dict' if isinstance(model, BaseTask) else 'tensors'}, "
            f"{type(batch).__name__} was given."
        )
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def moved(value: object) -> object:
        if not isinstance(value, torch.Tensor):
            return value
        value = value.to(device)
        return value.clone() if value.is_inference() else value

    with torch.inference_mode(mode=False):
        if isinstance(batch, dict):
            return {key: moved(value) if key in _needed(model) else value for key, value in batch.items()}
        return tuple(moved(value) for value in (batch if isinstance(batch, tuple) else (batch,)))


def network_inputs(model: nn.Module, batch: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """The positional arguments of the network, of a batch that :func:`own` gave."""
    return model.network_inputs(batch) if isinstance(model, BaseTask) else tuple(batch)


def logits_of(model: nn.Module, batch: Any) -> Tensor:  # noqa: ANN401
    """Run the model on a batch that :func:`own` gave; (B, C) logits before softmax, float32."""
    output = model(batch) if isinstance(model, BaseTask) else model(*batch)
    logits: Tensor = output["logits"] if isinstance(output, dict) else output
    return logits.float()


def place(rows: Tensor, network: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    """Bring maps of flattened slices back to their volumes.

    Args:
        rows: (N, h, w) maps, one per row of the trunk; (B, d, h, w) of a 3-D trunk.
        network: that made them.
        inputs: its positional arguments.

    Returns:
        (B, h, w) for images, (B, D, h, w) for volumes; 0 on padded and unused slices.

    Raises:
        BatchError: when the number of rows fits neither the images nor the slices.
    """
    used = used_slices(rows, network, inputs)
    if used.ndim == 1:
        return rows
    volumes = rows.new_zeros(*used.shape, *rows.shape[1:])
    volumes[used] = rows
    return volumes


def used_slices(rows: Tensor, network: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    """Where the rows of a trunk come from.

    A network that leaves out real slices says so by a method ``cam_slices``: it takes the network's arguments and gives
    (B, D) bool, True for the slices of the trunk, in the order of their rows. Others are taken to use all slices, or
    all that are True in an argument (B, D) bool (``slice_mask``), whichever the number of rows tells.

    Args:
        rows: (N, h, w) maps, one per row of the trunk; (B, d, h, w) of a 3-D trunk.
        network: that made them.
        inputs: its positional arguments, ``image`` first.

    Returns:
        (B,) bool, all True, for images and 3-D trunks; (B, D) bool for slices of volumes.

    Raises:
        BatchError: when the number of rows fits neither.
    """
    image: Tensor = inputs[0]
    count, tell = len(rows), getattr(network, "cam_slices", None)
    shape = image.shape[:1] if image.ndim == 4 or rows.ndim == 4 else (image.shape[0], image.shape[2])
    every = torch.ones(shape, dtype=torch.bool, device=image.device)
    masks = [x for x in inputs[1:] if isinstance(x, torch.Tensor) and x.shape == every.shape and x.dtype == torch.bool]
    for used in [every, *masks] if tell is None or every.ndim == 1 else [tell(*inputs)]:
        if int(used.sum()) == count:
            return used
    raise BatchError(
        f"The layer gave {count} maps for {every.numel()} images or slices, and {type(network).__name__} does not say "
        "which ones: give the class a method cam_slices, or name another layer with layer=."
    )


def _needed(model: nn.Module) -> set[str]:
    """Keys that a task may look at."""
    return {*getattr(model, "inputs", ()), "label", "subject", "scan", "lung_mask"}
