"""``DarkCovidNet``: a small network of chest X-rays, the baseline of the chest X-ray system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from covidct.errors import BatchError, UsageError
from covidct.models.imagenet import IMAGENET_MEAN, IMAGENET_STD, statistics_buffer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ("DarkCovidNet",)

_SIZE = 256  # pixels per side, reference code
_MAP = 13  # pixels per side of the last feature map
_SLOPE = 0.1  # of LeakyReLU, reference code


class DarkCovidNet(nn.Module):
    """DarkCovidNet (Ozturk et al. 2020): 17 convolutions after DarkNet-19, for chest X-rays of 256 x 256 pixels.

    As in the published code (github.com/muhammedtalo/COVID-19, "reference code"): blocks of a convolution without bias,
    batch normalisation and LeakyReLU, of 8 and 16 channels, then four threes of 32, 64, 128 and 256 (3x3, 1x1 back to
    half as many, 3x3), maximum pooling between them; 1x1 to 128, 3x3 to 256; last a 3x3 convolution to one channel per
    class with ReLU before its batch normalisation, and a linear layer of all its pixels. The 1x1 convolutions have a
    border of one pixel like the others, so that the feature maps grow by two: 66, 35, 19, 11 and 13 pixels per side.

    1,164,434 parameters with two classes, 1,167,586 with three. Mean and standard deviation belong to the network, so
    that weights and normalisation cannot part.

    Args:
        num_classes: C, at least 2 (softmax, binary too); 2, no finding and COVID-19, or 3 with pneumonia.
        mean: of one or three channels, in [0, 1]; None is ImageNet's.
        std: of one or three channels, above 0; None is ImageNet's.

    Attributes:
        cam_layer: name of the submodule that gives the last feature map of 256 channels, 13 x 13 pixels.

    Raises:
        UsageError: for a value out of range.
    """

    mean: Tensor
    std: Tensor
    cam_layer = "features"

    def __init__(
        self, *, num_classes: int = 2, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        """Build the network with random weights."""
        super().__init__()
        if num_classes < 2:
            raise UsageError(f"num_classes={num_classes} is too few: softmax needs at least 2, binary too.")
        self.features = nn.Sequential(
            _block(3, 8),
            nn.MaxPool2d(2),
            _block(8, 16),
            *(part for width in (32, 64, 128, 256) for part in (nn.MaxPool2d(2), _three(width // 2, width))),
            _block(256, 128, kernel=1),
            _block(128, 256),
        )
        self.scores = nn.Sequential(
            nn.Conv2d(256, num_classes, 3, padding=1, bias=False), nn.ReLU(), nn.BatchNorm2d(num_classes)
        )
        self.head = nn.Linear(_MAP * _MAP * num_classes, num_classes)
        for name, given, usual in (("mean", mean, IMAGENET_MEAN), ("std", std, IMAGENET_STD)):
            self.register_buffer(name, statistics_buffer(name, usual if given is None else given))

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each X-ray.

        Args:
            image: (B, C, 256, 256) float32 in [0, 1], C = 1 or 3; one channel is repeated.

        Returns:
            (B, num_classes) logits.

        Raises:
            BatchError: for another shape or size.
        """
        if image.ndim != 4 or image.shape[1] not in (1, 3) or image.shape[2:] != (_SIZE, _SIZE):
            raise BatchError(
                f"'image' must be (B, 1 or 3, {_SIZE}, {_SIZE}), which the last layer is made for, its shape is "
                f"{tuple(image.shape)}: set size={_SIZE} of the data module."
            )
        x = ((image - self.mean) / self.std).expand(-1, 3, -1, -1)  # statistics of one channel leave one
        logits: Tensor = self.head(self.scores(self.features(x)).flatten(1))
        return logits


def _block(before: int, after: int, *, kernel: int = 3) -> nn.Sequential:
    """A convolution, normalised and rectified; with a border of one pixel, of a 1x1 kernel too."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(_SLOPE, inplace=True),
    )


def _three(before: int, after: int) -> nn.Sequential:
    """Out, back by a 1x1 convolution, and out again."""
    return nn.Sequential(_block(before, after), _block(after, before, kernel=1), _block(before, after))
