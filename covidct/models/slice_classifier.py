"""``SliceClassifier``: any torchvision network as a classifier of CT slices and chest X-rays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from covidct.errors import UsageError
from covidct.models.trunk import Trunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from covidct.layers import Attention

__all__ = ("SliceClassifier",)


class SliceClassifier(nn.Module):
    """Classify CT slices or chest X-rays: a torchvision trunk, optionally with attention blocks, and a linear layer.

    The first level of the gated dual-contrast ensemble's two-level classifier (the practicum's report, section 3.3.2:
    slices in, a probability vector each), and the network that self-supervised trunks are fine-tuned in (appendix A.1).
    Of X-rays the classifier of the second phase of "Classification of COVID-19 from chest X-ray images using Deep
    Neural Networks" (2022), which compares grey with RGB images and does not name its network.

    Args:
        num_classes: C, at least 2 (softmax, binary too); 3 in the report, 2 for X-rays.
        backbone: any torchvision classification network with a linear classifier; see :class:`covidct.models.Trunk`.
        in_channels: 3: a grey image is repeated, "RGB" of the X-ray paper; 1: grey, by a first convolution whose
            kernels are the sums of the three channels'.
        attention: ``"se"``, ``"eca"`` or ``"cbam"`` blocks in a ResNet, ResNeXt or DenseNet, or None.
        dropout: share of the features that is dropped before the linear layer in training, in [0, 1).
        mean: of one or three channels, in [0, 1], one where ``in_channels`` is 1; None is ImageNet's, of one channel
            the mean of its three.
        std: of one or three channels, above 0; as ``mean``.
        weights: weights of the trunk that :meth:`load_backbone` takes, loaded at once; None is random initialisation.

    Attributes:
        cam_layer: name of the submodule that gives the last feature map; absent where the backbone has none that
            Grad-CAM could show (Swin and vision transformers).

    Raises:
        UsageError: for a value out of range, an unknown backbone, or attention that does not suit it.
        WeightsError: when ``weights`` cannot be had.
    """

    cam_layer: str

    def __init__(
        self,
        *,
        num_classes: int = 3,
        backbone: str = "resnet50",
        in_channels: Literal[1, 3] = 3,
        attention: Attention | None = None,
        dropout: float = 0.0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        weights: str | None = None,
    ) -> None:
        """Build the network."""
        super().__init__()
        if num_classes < 2:
            raise UsageError(f"num_classes={num_classes} is too few: softmax needs at least 2, binary too.")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout={dropout} is not usable: give a share of at least 0 and below 1.")
        self.trunk = Trunk(backbone, in_channels=in_channels, attention=attention, mean=mean, std=std)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.trunk.width, num_classes)
        if self.trunk.last_maps is not None:
            self.cam_layer = f"trunk.network.{self.trunk.last_maps}"
        if weights is not None:
            self.load_backbone(weights)

    def load_backbone(self, weights: str) -> None:
        """Load weights into the trunk; attention blocks and head stay as they are.

        Args:
            weights: as :meth:`covidct.models.Trunk.load_published` takes them.

        Raises:
            UsageError: when the backbone has no weights of that name.
            WeightsError: when they cannot be had or do not fit.
        """
        self.trunk.load_published(weights)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each image.

        Args:
            image: (B, C, H, W) float32 in [0, 1]; C = 1, or 3 where ``in_channels`` is 3; 224 x 224 pixels in the
                report.

        Returns:
            (B, num_classes) logits.

        Raises:
            BatchError: for another shape, or in training when batch normalisation would see one value per channel.
        """
        logits: Tensor = self.head(self.dropout(self.features(image)))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """Pooled features of each image.

        Args:
            image: as in :meth:`forward`.

        Returns:
            (B, F) in the dtype of the trunk.

        Raises:
            BatchError: as :meth:`forward`.
        """
        found: Tensor = self.trunk(image)
        return found
