"""Feature maps of one layer and their gradients, from any forward pass, without a trace left in the network."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from covidct.errors import UsageError
from covidct.layers import evaluation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ("FeatureTape", "recording")


class FeatureTape:
    """What a layer gave, call by call: a network that works in chunks calls it several times per batch.

    Attributes:
        maps: (n, F, h, w) or (n, F, d, h, w) per call, the leaves of the graph that leads to the scores.
    """

    def __init__(self, layer: str) -> None:
        """Begin with nothing."""
        self.layer = layer
        self.maps: list[Tensor] = []
        self.listening = True

    def keep(self, module: nn.Module, inputs: Any, output: object) -> Tensor:  # noqa: ANN401  (a forward hook)
        """Cut the graph at the output of the layer and keep that output.

        The clone keeps the leaf whole where the next operation works in place (torchvision's DenseNet).
        """
        if not isinstance(output, torch.Tensor) or output.ndim not in (4, 5) or not output.is_floating_point():
            found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise UsageError(
                f"The layer {self.layer!r} gives {found}, not feature maps (N, F, h, w) or (N, F, d, h, w): name the "
                "last convolution block with layer=."
            )
        leaf = output.detach().requires_grad_()
        if self.listening:
            self.maps.append(leaf)
        return leaf.clone()

    def gradients(self, scores: Tensor) -> list[Tensor]:
        """Gradients of the sum of ``scores`` in the maps; call it once, while the recording goes on.

        Args:
            scores: one per sample, computed from the maps.

        Returns:
            Tensors of the shapes of :attr:`maps`; zero where a map has no influence.

        Raises:
            UsageError: when the layer was not called, or the scores do not depend on it.
        """
        self.listening = False  # a checkpointed block calls the layer again in the backward pass
        if not self.maps:
            raise UsageError(f"The network did not call its layer {self.layer!r}: name one that it uses with layer=.")
        if not scores.requires_grad:
            raise UsageError(f"The scores do not depend on the layer {self.layer!r}: name another one with layer=.")
        return list(torch.autograd.grad(scores.sum(), self.maps, allow_unused=True, materialize_grads=True))


@contextmanager
def recording(network: nn.Module, layer: str) -> Iterator[FeatureTape]:
    """Put a network into evaluation mode and record what ``layer`` gives; everything is as before afterwards.

    The graph begins at the layer: nothing before it is differentiated, so that a trunk, frozen or not, costs what it
    costs in inference. Parameters get no gradient. Works within ``torch.no_grad`` and ``torch.inference_mode``.

    Args:
        network: any network whose parameters are no inference tensors.
        layer: name of the submodule, with dots.

    Yields:
        The tape; read it inside the block.

    Raises:
        UsageError: when there is no such layer.
    """
    try:
        module = network.get_submodule(layer)
    except AttributeError as error:
        parent, inside = _deepest(network, layer)
        names = ", ".join(f"{inside}{name}" for name, _ in parent.named_children())
        raise UsageError(
            f"{type(network).__name__} has no layer {layer!r}: name a submodule with layer= (it has {names})."
        ) from error
    tape = FeatureTape(layer)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    recurrent = [(part, part.dropout) for part in network.modules() if isinstance(part, nn.RNNBase)]
    handle = module.register_forward_hook(tape.keep)
    try:
        with evaluation(network), torch.inference_mode(mode=False), torch.enable_grad():
            for part, _ in recurrent:  # cuDNN differentiates them in training mode only; without dropout it is the same
                part.training, part.dropout = True, 0.0
            for parameter in trained:
                parameter.requires_grad_(False)
            yield tape
    finally:
        handle.remove()
        for parameter in trained:
            parameter.requires_grad_()
        for part, dropout in recurrent:
            part.dropout = dropout


def _deepest(network: nn.Module, layer: str) -> tuple[nn.Module, str]:
    """The innermost submodule with submodules on the way to a layer, and what stands before their names."""
    found, inside = network, ""
    for part in layer.split("."):
        child = dict(found.named_children()).get(part)
        if child is None or not any(True for _ in child.children()):
            break
        found, inside = child, f"{inside}{part}."
    return found, inside
