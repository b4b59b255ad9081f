"""Layers worth a look: the last outermost submodule that gives feature maps of each size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from covidct.errors import UsageError
from covidct.layers import evaluation

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ("spread_layers",)

_COUNT = 4  # layers in figure 15 of the gated dual-contrast ensemble document


def spread_layers(network: nn.Module, run: Callable[[], object], *, size: tuple[int, int]) -> list[str]:
    """Four layers spread over a network.

    Args:
        network: any.
        run: runs it once, on any input.
        size: (H, W) pixels of the slices of that input.

    Returns:
        Names, in the order of the pass: for each size of feature map the last of the outermost submodules that give it,
        and of these the last four; of a network with fewer sizes, four of all its submodules with feature maps, evenly
        spaced.

    Raises:
        UsageError: when no submodule gives feature maps.
    """
    sizes = _map_sizes(network, run, size)
    if not sizes:
        raise UsageError(f"{type(network).__name__} has no submodule that gives feature maps: name some with layers=.")
    order = list(sizes)
    best: dict[tuple[int, int], str] = {}
    for name, own in sizes.items():
        if own not in best or name.count(".") <= best[own].count("."):
            best[own] = name
    if len(best) >= _COUNT:
        return sorted(best.values(), key=order.index)[-_COUNT:]
    places = [round(number * (len(order) - 1) / (_COUNT - 1)) for number in range(_COUNT)]
    return [order[place] for place in dict.fromkeys(places)]


def _map_sizes(network: nn.Module, run: Callable[[], object], size: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Name of each submodule with feature maps to their (h, w), in the order in which they are done."""
    sizes: dict[str, tuple[int, int]] = {}
    handles = []

    def watch(name: str) -> Callable[[nn.Module, Any, object], None]:
        def keep(module: nn.Module, inputs: Any, output: object) -> None:  # noqa: ANN401  (a forward hook)
            if isinstance(output, torch.Tensor) and output.ndim in (4, 5) and output.is_floating_point():
                height, width = output.shape[-2:]
                alike = abs(height * size[1] - width * size[0]) <= max(size)  # to one cell; not (N, h, w, F)
                if output.shape[1] > 1 and height * width > 1 and alike:
                    sizes.setdefault(name, (height, width))

        return keep

    try:
        handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
        with evaluation(network), torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return sizes
