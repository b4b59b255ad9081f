"""``FPNDenseNet``: a feature pyramid on a DenseNet that finds the lungs in a chest X-ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from covidct.errors import BatchError, UsageError
from covidct.models.imagenet import IMAGENET_MEAN, IMAGENET_STD, modern_name, statistics_buffer
from covidct.models.volume_inputs import check_statistics
from covidct.weights import imagenet_weights, load_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ("FPNDenseNet",)

_BACKBONES = ("densenet121", "densenet161", "densenet169", "densenet201")
_STRIDE = 32  # of the encoder's last feature map
_GROUPS = 32  # of the decoder's group normalisation
_CLASSIFIER = "classifier."
_FEATURES = "features."


class FPNDenseNet(nn.Module):
    """FPN with a DenseNet encoder: one logit for every pixel of a chest X-ray, above 0 inside the lungs.

    The network of the chest X-ray system ("Classification of COVID-19 from chest X-ray images using Deep Neural
    Networks", 2022, "paper"): ``FPN`` of segmentation-models-pytorch (smp) with the encoder DenseNet-121. The paper
    gives no more; the defaults are those of smp. The last four feature maps of the encoder are led to
    ``pyramid_channels`` and added top down (nearest neighbour); each level goes through 3x3 convolutions with group
    normalisation and ReLU up to a quarter of the size, their sum through channel dropout and a 1x1 convolution, whose
    logits are interpolated bilinearly. 9,299,713 parameters.

    Mean and standard deviation belong to the network, so that weights and normalisation cannot part.

    Args:
        backbone: the encoder, ``"densenet121"`` (paper), ``"densenet161"``, ``"densenet169"`` or ``"densenet201"``.
        pyramid_channels: channels of the pyramid (smp's default).
        segmentation_channels: channels of the levels before they are added, a multiple of 32 from 64 on (smp's
            default).
        dropout: share of the channels dropped before the last convolution (smp's default).
        mean: of one or three channels, in [0, 1]; None is ImageNet's.
        std: of one or three channels, above 0; None is ImageNet's.

    Raises:
        UsageError: for a value out of range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbone: Literal["densenet121", "densenet161", "densenet169", "densenet201"] = "densenet121",
        pyramid_channels: int = 256,
        segmentation_channels: int = 128,
        dropout: float = 0.2,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        """Build the network with random weights."""
        super().__init__()
        if backbone not in _BACKBONES:
            raise UsageError(f"backbone={backbone!r} is no DenseNet: use one of {', '.join(_BACKBONES)}.")
        if pyramid_channels < 1 or segmentation_channels < 2 * _GROUPS or segmentation_channels % _GROUPS:
            raise UsageError(
                f"pyramid_channels={pyramid_channels} must be at least 1, and segmentation_channels="
                f"{segmentation_channels} a multiple of {_GROUPS}, the groups that are normalised, and two in each."
            )
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout={dropout} is not usable: give a share in [0, 1).")
        from segmentation_models_pytorch import FPN  # seconds to load

        network = FPN(
            backbone,
            encoder_weights=None,
            decoder_pyramid_channels=pyramid_channels,
            decoder_segmentation_channels=segmentation_channels,
            decoder_dropout=dropout,
            in_channels=3,
            classes=1,
        )
        self.backbone = backbone
        self.network = network.to(memory_format=torch.channels_last)
        for name, given, usual in (("mean", mean, IMAGENET_MEAN), ("std", std, IMAGENET_STD)):
            self.register_buffer(name, statistics_buffer(name, usual if given is None else given))

    def load_backbone(self, weights: str) -> None:
        """Load published weights into the encoder; the published classifier is left out.

        Args:
            weights: name in torchvision's weights enum of the backbone (``"IMAGENET1K_V1"``), or path of a file with
                torchvision's names.

        Raises:
            UsageError: when the backbone has no weights of that name.
            WeightsError: when they cannot be had or do not fit.
        """
        state = {modern_name(name): value for name, value in imagenet_weights(self.backbone, weights).items()}
        inside = {name.removeprefix(_FEATURES): v for name, v in state.items() if not name.startswith(_CLASSIFIER)}
        load_state(self.network.encoder.features, inside, source=weights)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every pixel.

        Args:
            image: (N, C, H, W) float32 in [0, 1], C = 1 or 3, one channel is repeated; H and W divisible by 32.

        Returns:
            (N, 1, H, W) logits.

        Raises:
            BatchError: for another shape or size, or when batch normalisation would see one value per channel.
        """
        if image.ndim != 4 or image.shape[1] not in (1, 3):
            raise BatchError(f"'image' must be (N, 1 or 3, H, W), its shape is {tuple(image.shape)}.")
        height, width = image.shape[2:]
        if 0 in (height, width) or height % _STRIDE or width % _STRIDE:
            valid = [max(1, -(-side // _STRIDE)) * _STRIDE for side in (height, width)]
            raise BatchError(
                f"The network takes sizes divisible by {_STRIDE}, not {height}x{width}: set the size of the data "
                f"module, the next valid one is {valid[0]}x{valid[1]}."
            )
        if any(part.training for part in self.modules() if isinstance(part, nn.BatchNorm2d)):
            check_statistics(len(image), (height, width))
        x = ((image - self.mean) / self.std).expand(-1, 3, -1, -1)  # statistics of one channel leave one
        logits: Tensor = self.network(x.contiguous(memory_format=torch.channels_last))
        return logits
