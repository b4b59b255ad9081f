"""``Trials``: random inputs, what a network makes of them, and how far something else is from that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from covidct.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from covidct.inference.export_network import ExportNetwork, Signature

    Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]

__all__ = ("Trials",)

_COUNTS = (1, 3, 2)  # scans of a batch


class Trials:
    """Batches of unlike numbers of scans and slices, and the outputs of a network for them.

    Attributes:
        shapes: (scans, slices) of each batch; 0 slices for images.
        axes: of each output; words where it is another number in each batch.

    Args:
        network: in evaluation mode.
        signature: of its inputs.
        depth: a number of slices to try beside two others, where any is possible.

    Raises:
        ExportError: when an output is not finite.
        CovidctError: what the network refuses.
    """

    def __init__(self, network: ExportNetwork, signature: Signature, *, depth: int | None = None) -> None:
        """Make the batches and run the network."""
        depths = signature.depths(depth)
        self.shapes = tuple(zip(_COUNTS, depths, strict=False))
        self._inputs = [signature.random(*shape, seed=seed) for seed, shape in enumerate(self.shapes)]
        with torch.no_grad():
            self._wanted = [network(**inputs) for inputs in self._inputs]
        for name in self._wanted[0]:
            if not all(bool(found[name].isfinite().all()) for found in self._wanted):
                raise ExportError(
                    f"The network gives {name!r} that is not finite on a random image, so nothing can be compared with "
                    "it: train again, or check the checkpoint."
                )
        first, second = self._wanted[:2]
        self.axes = {name: _axes(first[name], second[name]) for name in first}

    def differences(self, run: Run) -> dict[str, float]:
        """The largest difference of each output, relative to its largest value where that is above 1.

        Args:
            run: gives all outputs of the network, or some.
        """
        largest: dict[str, float] = {}
        for inputs, wanted in zip(self._inputs, self._wanted, strict=True):
            for name, value in run(inputs).items():
                largest[name] = max(largest.get(name, 0.0), _difference(value, wanted[name]))
        return largest


def _axes(first: Tensor, second: Tensor) -> tuple[int | str, ...]:
    """Axes of an output by those of two batches."""
    words = ("batch", *("depth",) * (first.ndim - 1))
    return tuple(
        one if one == another else word for one, another, word in zip(first.shape, second.shape, words, strict=True)
    )


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Largest difference; infinite for another shape or NaN."""
    if found.shape != wanted.shape or not bool(found.isfinite().all()):
        return float("inf")
    furthest = (found.double() - wanted.double()).abs().max()
    return float(furthest / wanted.double().abs().max().clamp(min=1))
