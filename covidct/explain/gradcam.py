"""``GradCAM``: which places of the last feature map a class score rests on, for images and whole volumes.

R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", as section
III.C of the mask-weighted pooling document uses it: with the last feature map A and the score y of a class before
softmax, ``alpha_k = mean_ij dy/dA_kij`` and ``L = ReLU(sum_k alpha_k A_k)``. Maps leave unscaled: scaled by its own
maximum every scan, healthy ones too, is hot somewhere. See :func:`covidct.explain.calibrate` for the fixed scale.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from covidct.errors import BatchError
from covidct.explain.capture import recording
from covidct.explain.slices import cam_layer, logits_of, network_inputs, network_of, own, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

    from covidct.explain.capture import FeatureTape

__all__ = ("ClassMaps", "GradCAM", "Watch", "chosen_target")


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """Maps of one class per sample.

    Attributes:
        maps: (B, h, w) of images, (B, D, h, w) of volumes, float32, at least 0, unscaled; 0 on slices that the network
            does not use.
        target: (B,) int64, the class explained.
        logits: (B, C) float32, before softmax.
    """

    maps: Tensor
    target: Tensor
    logits: Tensor


class Watch:
    """A forward pass that is being watched; :meth:`maps` turns a score into maps."""

    def __init__(self, tape: FeatureTape, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Keep what is needed afterwards."""
        self._tape, self._network, self._inputs = tape, network, inputs

    def maps(self, scores: Tensor) -> Tensor:
        """Grad-CAM of any score of the watched pass; call it once.

        Args:
            scores: (B,), each depending on its own sample alone.

        Returns:
            (B, h, w) or (B, D, h, w) float32, at least 0.

        Raises:
            UsageError: when the scores do not depend on the layer.
        """
        gradients = self._tape.gradients(scores)
        rows = [_class_map(a.detach(), g) for a, g in zip(self._tape.maps, gradients, strict=True)]
        return place(torch.cat(rows), self._network, self._inputs)


class GradCAM:
    """Grad-CAM of any classifier, tasks of the library and plain networks alike.

    The network runs in evaluation mode and is left as it was: modes, gradients, ``requires_grad``, hooks, random
    numbers. Only what follows the layer is differentiated, so the maps cost little more than inference. Runs within
    ``torch.inference_mode`` and under autocast too (the maps are float32).

    A network says which submodule gives its last feature map by an attribute ``cam_layer``, and which slices of a
    volume pass it by a method ``cam_slices`` (needed only where it leaves out real ones).

    Args:
        model: a task (called with batch dicts) or a plain network (called with its tensors).
        layer: name of the submodule that gives the feature map, with dots; None takes the network's own ``cam_layer``.

    Raises:
        UsageError: when no layer is named.
    """

    def __init__(self, model: nn.Module, *, layer: str | None = None) -> None:
        """Find the layer."""
        self.model = model
        self.layer = cam_layer(network_of(model), layer)

    def __call__(
        self, batch: Mapping[str, Any] | Tensor | tuple[Any, ...], target: int | Tensor | None = None
    ) -> ClassMaps:
        """Explain a batch.

        Args:
            batch: a batch of :mod:`covidct.sample` for a task; a tensor, or the tuple of its arguments, for a network.
            target: class to explain, one for all or (B,) int64; None explains the predicted classes.

        Raises:
            BatchError: when a target is no class.
            UsageError: when the batch does not suit the model or the layer is wrong.
        """
        taken = own(self.model, batch)
        with self.watch(taken) as watch:
            logits = logits_of(self.model, taken)
            target = chosen_target(logits, target)
            maps = watch.maps(logits.gather(1, target[:, None])[:, 0])
        return ClassMaps(maps, target, logits.detach())

    @contextmanager
    def watch(self, batch: Any) -> Iterator[Watch]:  # noqa: ANN401
        """Watch a forward pass of one's own; what it computes carries a graph from the layer on.

        Args:
            batch: what the pass will be given, on the device of the model, in tensors that are no inference tensors.

        Yields:
            The :class:`Watch`; use it inside the block.
        """
        network = network_of(self.model)
        with recording(network, self.layer) as tape:
            yield Watch(tape, network, network_inputs(self.model, batch))


def chosen_target(logits: Tensor, target: int | Tensor | None) -> Tensor:
    """One class per sample.

    Args:
        logits: (B, C).
        target: one for all, (B,) int64, or None for the class of the highest logit.

    Returns:
        (B,) int64 on the device of the logits.

    Raises:
        BatchError: when it is no class, or not one per sample.
    """
    if target is None:
        return logits.detach().argmax(1)
    chosen = torch.as_tensor(target, device=logits.device).long()
    chosen = chosen.expand(len(logits)) if chosen.ndim == 0 else chosen
    if chosen.shape != logits.shape[:1] or bool(((chosen < 0) | (chosen >= logits.shape[1])).any()):
        raise BatchError(
            f"target={chosen.tolist()} must name one of the classes 0 to {logits.shape[1] - 1} for each of the "
            f"{len(logits)} samples."
        )
    return chosen.clone() if chosen.is_inference() else chosen  # autograd takes no inference tensors


def _class_map(features: Tensor, gradients: Tensor) -> Tensor:
    """``ReLU(sum_k alpha_k A_k)`` of (n, F, ...) maps and their gradients: (n, ...) float32."""
    with torch.autocast(features.device.type, enabled=False):
        alpha = gradients.float().flatten(2).mean(2)
        return F.relu(torch.einsum("nk,nk...->n...", alpha, features.float()))
