"""``CSRNet``: VGG-16 without its last pooling, then dilated convolutions, as an encoder of slices.

Y. Li, X. Zhang, D. Chen, "CSRNet: Dilated Convolutional Neural Networks for Understanding the Highly Congested Scenes"
(CVPR 2018), configuration B, and its reference code (github.com/leeyeehoo/CSRNet-pytorch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from covidct.errors import BatchError
from covidct.layers import recompute
from covidct.models.imagenet import IMAGENET_MEAN, IMAGENET_STD
from covidct.weights import imagenet_weights, load_state

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("CSRNet",)

_FRONT = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))  # paper, table 3: VGG-16, pooled between the groups
_BACK = (512, 512, 512, 256, 128, 64)  # paper, table 3, B: dilation 2
_DILATION = 2
_STD = 0.01  # paper and reference code: Gaussian initialisation of the dilated layers
_STRIDE = 8


class CSRNet(nn.Module):
    """The first ten convolutions of VGG-16 with three poolings, then six of dilation 2: images in, features out.

    The paper's last layer, which turns the 64 maps into a density of people, is left out: the backbone that the
    practicum's report names for COVNet (appendix A.2). It has no batch normalisation. Its interface is that of
    :class:`covidct.models.Trunk`.

    Attributes:
        backbone: ``"csrnet"``.
        width: 64, number of features.
        last_maps: name of the submodule that gives the last feature map.

    Args:
        weights: VGG-16 weights for the front, by name or path, loaded at once; None is random initialisation.

    Raises:
        WeightsError: when ``weights`` cannot be had.
    """

    backbone = "csrnet"
    width = _BACK[-1]
    last_maps = "back"
    mean: Tensor
    std: Tensor

    def __init__(self, *, weights: str | None = None) -> None:
        """Build the network."""
        super().__init__()
        front: list[nn.Module] = []
        before = 3
        for group in _FRONT:
            front += [nn.MaxPool2d(2)] if front else []
            for width in group:
                front += _layer(before, width, dilation=1)
                before = width
        back: list[nn.Module] = []
        for width in _BACK:
            back += _layer(before, width, dilation=_DILATION)
            before = width
        self.front, self.back = nn.Sequential(*front), nn.Sequential(*back)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.to(memory_format=torch.channels_last)
        if weights is not None:
            self.load_published(weights)

    def load_published(self, weights: str) -> None:
        """Load weights of VGG-16 into the front, as the paper does; the dilated layers stay as they are.

        Args:
            weights: name in torchvision's weights enum of ``vgg16``, or path of a file with torchvision's names.

        Raises:
            UsageError: when VGG-16 has no weights of that name.
            WeightsError: when they cannot be had or do not fit.
        """
        state = imagenet_weights("vgg16", weights)
        own = {f"features.{name}": name for name in self.front.state_dict()}
        load_state(self.front, {own[name]: value for name, value in state.items() if name in own}, source=weights)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images: the means of the last maps.

        Args:
            images: (N, C, H, W) float32 in [0, 1], C = 1 or 3, at least 8 pixels per side; one channel is repeated.

        Returns:
            (N, 64) in the dtype of the network.

        Raises:
            BatchError: for another shape.
        """
        return self.feature_maps(images).mean((2, 3))

    def feature_maps(self, images: Tensor, *, checkpointing: bool = False) -> Tensor:
        """Last feature map of images.

        Args:
            images: as in :meth:`forward`.
            checkpointing: in training, recompute activations in the backward pass instead of keeping them.

        Returns:
            (N, 64, h, w); 28 x 28 for 224 x 224 pixels.

        Raises:
            BatchError: as :meth:`forward`.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise BatchError(f"'image' must be (N, 1 or 3, H, W), its shape is {tuple(images.shape)}.")
        if min(images.shape[-2:]) < _STRIDE:
            height, width = images.shape[-2:]
            raise BatchError(f"csrnet takes at least {_STRIDE} pixels per side, not {height}x{width}: raise the size.")
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)  # one channel becomes three
        if checkpointing and self.training and torch.is_grad_enabled():
            for block in (*_between_poolings(self.front), self.back):
                x = recompute(block, x)
            return x
        maps: Tensor = self.back(self.front(x))
        return maps


def _layer(before: int, width: int, *, dilation: int) -> list[nn.Module]:
    """A 3 x 3 convolution that keeps the size, with its initial weights, and ReLU."""
    conv = nn.Conv2d(before, width, 3, padding=dilation, dilation=dilation)
    if dilation == 1:  # as torchvision's VGG, whose trained weights may come later
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.normal_(conv.weight, std=_STD)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return [conv, nn.ReLU(inplace=True)]


def _between_poolings(layers: nn.Sequential) -> list[nn.Sequential]:
    """The groups of layers that work at one size, each from its pooling on."""
    found: list[list[nn.Module]] = [[]]
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            found.append([])
        found[-1].append(layer)
    return [nn.Sequential(*group) for group in found]
