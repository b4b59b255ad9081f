"""``ElementMap``: what each cell adds to the score of its slice, zero where the pooling weights are."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import UsageError
from covidct.explain.capture import recording
from covidct.explain.gradcam import ClassMaps, chosen_target
from covidct.explain.slices import cam_layer, logits_of, network_inputs, network_of, own, place, used_slices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ("ElementMap",)


class ElementMap:
    """The class activation map with the pooling weights in it: ``ReLU(sum_k W_k M_ij A_kij)``.

    With a linear head on mask-weighted pooling the score of a slice alone is ``b + sum_ij sum_k W_k M_ij A_kij``: the
    map shows its positive terms, cell by cell. Grad-CAM averages the gradient over the cells, so that M cancels and
    places outside the lungs can be hot; here a cell with M = 0 is 0. (The Gaussian on the mask spreads M over a few
    cells around the lungs.) The fusion of the slices plays no part: each slice stands for itself.

    Args:
        model: a task, or a network with ``cam_layer``, a linear ``head`` and ``pooling_weights(lung_mask)``.

    Raises:
        UsageError: when the network is of another form.
    """

    def __init__(self, model: nn.Module) -> None:
        """Check the form of the network."""
        self.model = model
        self._network = network_of(model)
        head = getattr(self._network, "head", None)
        pooling_weights = getattr(self._network, "pooling_weights", None)
        if not isinstance(head, nn.Linear) or not callable(pooling_weights):
            raise UsageError(
                f"{type(self._network).__name__} has no linear head on pooling weights, so its score has no terms per "
                "cell: use GradCAM."
            )
        self._head, self._pooling_weights = head, pooling_weights
        self.layer = cam_layer(self._network, None)

    def __call__(
        self, batch: Mapping[str, Any] | Tensor | tuple[Any, ...], target: int | Tensor | None = None
    ) -> ClassMaps:
        """Explain a batch; arguments, results and errors are those of :class:`covidct.explain.GradCAM`."""
        taken = own(self.model, batch)
        inputs = network_inputs(self.model, taken)
        network = self._network
        with recording(network, self.layer) as tape, torch.no_grad():
            logits = logits_of(self.model, taken)
            target = chosen_target(logits, target)
            lung_mask = inspect.signature(network.forward).bind(*inputs).arguments["lung_mask"]
            weights = self._pooling_weights(lung_mask)
            features = torch.cat([maps.detach().float() for maps in tape.maps])
            used = used_slices(features[:, 0], network, inputs)
            classes = target.reshape(-1, *[1] * (used.ndim - 1)).expand(used.shape)[used]
            with torch.autocast(features.device.type, enabled=False):
                terms = torch.einsum("nk,nkhw->nhw", self._head.weight.float()[classes], features)
                maps = F.relu(terms * weights[used])
            return ClassMaps(place(maps, network, inputs), target, logits)
