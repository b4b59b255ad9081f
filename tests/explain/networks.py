"""Networks and batches for the tests of explanations."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from covidct.models import MaskedGAPResNet
from covidct.tasks import MaskedGAPResNetTask
from tests.fakes.volumes import tiny_batch

if TYPE_CHECKING:
    from torch import Tensor

    from covidct.sample import Batch


def settled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and running statistics of batch normalisation, so that features are no constants."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                bound = (2 / parameter[0].numel()) ** 0.5
                parameter.copy_(torch.empty_like(parameter).normal_(0, bound, generator=generator))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.empty_like(buffer).normal_(0, 0.2, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(torch.empty_like(buffer).uniform_(0.5, 2, generator=generator))
    return network


@cache
def _weights() -> dict[str, Tensor]:
    return settled(MaskedGAPResNet(backbone="resnet18")).state_dict()


def pooling_network(**options: Any) -> MaskedGAPResNet:  # noqa: ANN401
    """A small mask-weighted network in evaluation mode: a feature map of 2 x 2."""
    with torch.device("meta"):
        network = MaskedGAPResNet(**{"backbone": "resnet18", "slice_size": 64, "sigma": 0.3, **options})
    network.to_empty(device="cpu").load_state_dict(_weights())
    return network.eval()


def pooling_task(**options: Any) -> MaskedGAPResNetTask:  # noqa: ANN401
    """The task of the small network."""
    task = MaskedGAPResNetTask(**{"backbone": "resnet18", "slice_size": 64, "sigma": 0.3, **options})
    task.model.load_state_dict(_weights())
    return task.eval()


def volumes(count: int = 2, *, size: int = 32) -> Batch:
    """Volumes of 3 and 4 slices, padded to 4; the first slice of each has no lung."""
    return tiny_batch(count, size=size)


def inputs_of(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """What the pooling network takes."""
    return batch["image"], batch["lung_mask"], batch["slice_mask"]


class Cube(nn.Module):
    """A 3-D trunk: feature maps with a depth of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv3d(1, 5, 3, stride=2, padding=1)
        self.head = nn.Linear(5, 2)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = F.relu(self.trunk(image))
        return {"logits": self.head(features.mean((2, 3, 4))), "features": features}


class RealSlices(nn.Module):
    """Runs the real slices alone and says nothing about it."""

    cam_layer = "trunk"

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(1, 4, 3, stride=4)
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor, slice_mask: Tensor | None = None) -> Tensor:
        every = torch.ones(image.shape[0], image.shape[2], dtype=torch.bool)
        used = every if slice_mask is None else slice_mask
        volume, depth = used.nonzero(as_tuple=True)
        features = self.trunk(image[volume, :, depth]).mean((2, 3))
        scores = features.new_zeros(*used.shape, 4).index_put((volume, depth), features)
        logits: Tensor = self.head(scores.sum(1) / used.sum(1, keepdim=True))
        return logits
