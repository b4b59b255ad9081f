"""What the distance of data sets sees of an image: its pixels on a small grid, or the features of a frozen network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import UsageError
from covidct.models.imagenet import IMAGENET_MEAN, IMAGENET_STD
from covidct.weights import imagenet_weights, load_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ("network_features", "pixel_features")


Images = TypeVar("Images", "NDArray[Any]", "Tensor")


def pixel_features(images: Images, *, size: int = 32) -> Images:
    """Pixels on a grid of ``size`` x ``size``, averaged (antialiased bilinear), as rows.

    Args:
        images: (N, H, W) or (N, C, H, W), an array or a tensor: float as it is, uint8 over 255.
        size: of the grid; 32 (recommendation of facts 1.2: more pixels than samples tell little of a covariance).

    Returns:
        (N, C * size * size) float32, of the images' kind and device.

    Raises:
        UsageError: for another shape.
    """
    values = _planes(images)
    small = F.interpolate(values, (size, size), mode="bilinear", antialias=True, align_corners=False).flatten(1)
    return small.numpy() if isinstance(images, np.ndarray) else small


def network_features(
    network: nn.Module | str = "resnet18",
    *,
    weights: str | None = None,
    size: int | None = 224,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> Callable[[Any], Any]:
    """A frozen network as a feature function: in evaluation mode, without gradients.

    Args:
        network: a torchvision network whose head is called ``fc`` by name (ResNet, ResNeXt, RegNet, ...): its pooled
            features in front of the head are taken of grey or colour images, normalised as for ImageNet. Or a module:
            it is given the images as they are, resized, and what it returns is flattened.
        weights: of a network by name: of torchvision's enum (``"IMAGENET1K_V1"``, downloaded once) or the path of a
            file. None: random ones, the same for a seed; never a network connection.
        size: images are resized to ``size`` x ``size`` (antialiased bilinear); None: not.
        batch_size: images at a time.
        device: where the network runs; it is moved there.
        seed: of random weights.

    Returns:
        A function of images (N, H, W), (N, 1, H, W) or (N, 3, H, W), uint8 or float in [0, 1], that gives (N, d)
        float32 of the images' kind and device.

    Raises:
        UsageError: for an unknown network, one without ``fc``, or weights for a module.
        WeightsError: for weights that cannot be had or do not fit.
    """
    if isinstance(network, str):
        model: nn.Module = _Trunk(network, weights, seed)
    elif weights is None:
        model = network
    else:
        raise UsageError("weights are given for a module, which has its own: leave them out.")
    model = model.to(device).eval()

    def features(images: Images) -> Images:
        values = _planes(images)
        taken = [
            _batch(model, values[start : start + batch_size], size, device)
            for start in range(0, len(values), batch_size)
        ]
        rows = torch.cat(taken).to(values.device)
        return rows.numpy() if isinstance(images, np.ndarray) else rows

    return features


class _Trunk(nn.Module):
    """A torchvision classification network without its head, for grey and colour images in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | None, seed: int) -> None:
        from torchvision import models

        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            try:
                network = models.get_model(name, weights=None)
            except ValueError as error:
                raise UsageError(
                    f"network={name!r} is no torchvision network: use one such as 'resnet18', or give a module."
                ) from error
        if not hasattr(network, "fc"):
            raise UsageError(f"network={name!r} has no head called 'fc': use one such as 'resnet18', or give a module.")
        network.fc = nn.Identity()
        if weights is not None:
            state = imagenet_weights(name, weights)
            load_state(
                network, {key: value for key, value in state.items() if not key.startswith("fc.")}, source=weights
            )
        self.network = network
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Features (N, d) of images (N, C, H, W)."""
        features: Tensor = self.network((image.expand(-1, 3, -1, -1) - self.mean) / self.std)
        return features


@torch.no_grad()
def _batch(model: nn.Module, images: Tensor, size: int | None, device: str | torch.device) -> Tensor:
    """Features of a few images."""
    values = images.to(device)
    if size is not None and values.shape[-2:] != (size, size):
        values = F.interpolate(values, (size, size), mode="bilinear", antialias=True, align_corners=False)
    features: Tensor = model(values)
    return features.flatten(1).float()


def _planes(images: NDArray[Any] | Tensor) -> Tensor:
    """Images as (N, C, H, W) float32."""
    values = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images.detach()
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim != 4 or 0 in values.shape:
        raise UsageError(f"Images have the shape {tuple(values.shape)}: give (N, H, W) or (N, C, H, W), not empty.")
    return values.float() / 255 if values.dtype == torch.uint8 else values.float()
