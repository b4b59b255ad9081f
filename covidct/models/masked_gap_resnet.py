"""``MaskedGAPResNet``: ResNet slices, mask-weighted global average pooling, scan diagnosis.

G. Li, C. Sun, Z. Sun, "A Deep Learning Based Method For COVID-19 Classification Using Chest CT Images", sections II.E
and II.F. What the document leaves open (the fusion of the slices, the Gaussian's sigma) is a recommendation here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torchvision import models as tv

from covidct.errors import UsageError
from covidct.functional import mask_weighted_gap, mask_weights
from covidct.layers import recompute
from covidct.models.imagenet import IMAGENET_MEAN, IMAGENET_STD
from covidct.models.volume_inputs import (
    check_real,
    check_size,
    check_statistics,
    check_volumes,
    in_chunks,
    in_volumes,
    max_over_slices,
    resized,
    slice_pixels,
    slices_of,
)
from covidct.weights import imagenet_weights, load_state

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("MaskedGAPResNet",)

_BACKBONES = ("resnet18", "resnet34", "resnet50")
_STRIDE = 32  # of torchvision's ResNets, from the image to the last feature map


class MaskedGAPResNet(nn.Module):
    """Classify a CT volume: a 2-D ResNet on each slice, pooling weighted by the lungs, fusion over the slices.

    Slices without lung are skipped; a volume without any lung uses all its slices with uniform weights. Padded slices
    are dropped before the trunk, so they cost nothing and change nothing.

    In evaluation mode the slices go through the trunk in chunks of ``slices_per_chunk``, which bounds the memory and
    does not change the result. In training mode all kept slices of the batch go through together, since batch
    normalisation takes its statistics from them; ``checkpointing`` then trades time for memory.

    Args:
        num_classes: C, at least 2 (softmax, binary too). The document's task is binary.
        backbone: ``"resnet50"`` (the document), ``"resnet34"`` or ``"resnet18"``.
        pooling: ``"mask"`` (eq. 1) or ``"mean"``, the plain global average pooling the document compares with.
        fusion: ``"max"`` over slices, element by element (COVNet's rule; the document is silent), or ``"mean"``.
        slice_size: pixels of the longer side that slices are resized to (bilinear, aspect kept) before the trunk; 224
            in the document (section II.E); None keeps the size.
        slices_per_chunk: slices per pass in evaluation mode.
        sigma: standard deviation of the Gaussian on the downscaled mask, in cells of the feature map.
        checkpointing: recompute activations in the backward pass instead of keeping them.
        weights: torchvision weights of the backbone, by name or path, loaded at once
            (:func:`covidct.weights.imagenet_weights`); None is random initialisation.

    Raises:
        UsageError: for a value outside the lists above.
        WeightsError: when ``weights`` cannot be had.
    """

    cam_layer = "trunk.layer4"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        num_classes: int = 2,
        backbone: Literal["resnet18", "resnet34", "resnet50"] = "resnet50",
        pooling: Literal["mask", "mean"] = "mask",
        fusion: Literal["max", "mean"] = "max",
        slice_size: int | None = 224,
        slices_per_chunk: int = 16,
        sigma: float = 1.0,
        checkpointing: bool = False,
        weights: str | None = None,
    ) -> None:
        """Build the network."""
        super().__init__()
        _require(backbone in _BACKBONES, f"backbone={backbone!r} is unknown: use one of {', '.join(_BACKBONES)}.")
        _require(pooling in ("mask", "mean"), f"pooling={pooling!r} is unknown: use 'mask' or 'mean'.")
        _require(fusion in ("max", "mean"), f"fusion={fusion!r} is unknown: use 'max' or 'mean'.")
        _require(num_classes >= 2, f"num_classes={num_classes} is too few: softmax needs at least 2, binary too.")
        check_size("slices_per_chunk", slices_per_chunk, optional=False)
        check_size("slice_size", slice_size)
        _require(
            isinstance(sigma, int | float) and 0 <= sigma < float("inf"),
            f"sigma={sigma!r} is not usable: give a width in cells of at least 0.",
        )
        self.backbone = backbone
        self.pooling = pooling
        self.fusion = fusion
        self.slice_size = slice_size
        self.slices_per_chunk = slices_per_chunk
        self.sigma = sigma
        self.checkpointing = checkpointing
        resnet = tv.get_model(backbone, weights=None)
        width = resnet.fc.in_features
        del resnet.avgpool, resnet.fc
        self.trunk = nn.ModuleDict(resnet.named_children())
        self.head = nn.Linear(width, num_classes)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.trunk.to(memory_format=torch.channels_last)
        if weights is not None:
            self.load_backbone(weights)

    def load_backbone(self, weights: str) -> None:
        """Load published weights into the trunk; the head stays as it is.

        Args:
            weights: name in torchvision's weights enum of the backbone, or path of a file with torchvision's names.

        Raises:
            WeightsError: when they cannot be had or do not fit.
        """
        state = imagenet_weights(self.backbone, weights)
        trunk = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
        load_state(self.trunk, trunk, source=weights)

    def forward(self, image: Tensor, lung_mask: Tensor, slice_mask: Tensor | None = None) -> Tensor:
        """Logits of each volume.

        Args:
            image: (B, C, D, H, W) float32 in [0, 1], C = 1 or 3.
            lung_mask: (B, 1, D, H, W) uint8, 0 outside the lungs.
            slice_mask: (B, D) bool, True = real slice. None means no padding, and in evaluation mode a path without
                data-dependent shapes, which can be exported: slices without lung are computed there but count nothing.

        Returns:
            (B, num_classes) logits.

        Raises:
            BatchError: when the shapes do not fit, or a volume has no real slice.
        """
        features, used = self.slice_features(image, lung_mask, slice_mask)
        logits: Tensor = self.head(self.fuse(features, used))
        return logits

    def slice_features(
        self, image: Tensor, lung_mask: Tensor, slice_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pooled features of each slice; ``head`` on them gives scores per slice.

        Args:
            image: as in :meth:`forward`.
            lung_mask: as in :meth:`forward`.
            slice_mask: as in :meth:`forward`.

        Returns:
            features (B, D, F) float32 and used (B, D) bool. Features of slices that are not used are 0, or real without
            ``slice_mask`` in evaluation mode.
        """
        check_volumes(image, lung_mask, slice_mask)
        if slice_mask is None and self.training:
            slice_mask = torch.ones_like(lung_mask[:, 0, :, 0, 0], dtype=torch.bool)
        used = used_slices(lung_mask, slice_mask)
        if slice_mask is None:
            return self._encode(slices_of(image, None), slices_of(lung_mask, None)).reshape(*used.shape, -1), used
        check_real(slice_mask)
        return in_volumes(self._encode(slices_of(image, used), slices_of(lung_mask, used)), used), used

    def cam_slices(self, image: Tensor, lung_mask: Tensor, slice_mask: Tensor | None = None) -> Tensor:
        """Which slices pass the trunk in evaluation mode, for :class:`covidct.explain.GradCAM`.

        Args:
            image: as in :meth:`forward`.
            lung_mask: as in :meth:`forward`.
            slice_mask: as in :meth:`forward`.

        Returns:
            (B, D) bool; all of them without ``slice_mask``.
        """
        used = used_slices(lung_mask, slice_mask)
        return torch.ones_like(used) if slice_mask is None else used

    def fuse(self, features: Tensor, used: Tensor) -> Tensor:
        """Join the slices of each volume.

        Args:
            features: (B, D, F).
            used: (B, D) bool, at least one True per volume.

        Returns:
            (B, F). The maximum has a gradient in one slice per feature only.
        """
        if self.fusion == "max":
            return max_over_slices(features, used)
        return features.masked_fill(~used[..., None], 0).sum(1) / used.sum(1, keepdim=True)

    def feature_maps(self, slices: Tensor) -> Tensor:
        """Last feature map of single slices.

        Args:
            slices: (N, C, H, W) float32 in [0, 1], C = 1 or 3.

        Returns:
            (N, F, h, w); 7 x 7 for 224 x 224 pixels.
        """
        x = (resized(slices, self._pixels(slices)) - self.mean) / self.std  # one channel becomes three here
        x = x.contiguous(memory_format=torch.channels_last)
        for name, block in self.trunk.items():
            frugal = self.checkpointing and name.startswith("layer") and torch.is_grad_enabled()
            x = recompute(block, x) if frugal else block(x)
        return x

    def pooling_weights(self, lung_mask: Tensor) -> Tensor:
        """Weights with which the cells of the feature map are summed (M of eq. 1).

        Args:
            lung_mask: (B, 1, D, H, W) uint8.

        Returns:
            (B, D, h, w) float32, each slice summing to one; uniform where a slice has no lung or ``pooling="mean"``.
        """
        masks = lung_mask.transpose(1, 2).flatten(0, 1)
        height, width = (-(-side // _STRIDE) for side in self._pixels(lung_mask))
        weights = self._weights(masks, (height, width))
        return weights.reshape(lung_mask.shape[0], lung_mask.shape[2], height, width)

    def _encode(self, slices: Tensor, masks: Tensor) -> Tensor:
        """(N, C, H, W) slices and (N, 1, H, W) masks to (N, F) float32 features."""
        if self.training:
            check_statistics(len(slices), self._pixels(slices))
        if self.training or torch.compiler.is_compiling():
            return self._pooled(slices, masks)
        return in_chunks(self._pooled, slices, masks, step=self.slices_per_chunk)

    def _pooled(self, slices: Tensor, masks: Tensor) -> Tensor:
        """Trunk and pooling of one chunk; the pooling is float32 under autocast too."""
        maps = self.feature_maps(slices)
        return mask_weighted_gap(maps, self._weights(masks, (maps.shape[-2], maps.shape[-1])))

    def _weights(self, masks: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, 1, H, W) masks to (N, 1, h, w) weights."""
        if self.pooling == "mask":
            return mask_weights(masks, size, self.sigma)
        return masks.new_full((masks.shape[0], 1, *size), 1 / (size[0] * size[1]), dtype=torch.float32)

    def _pixels(self, slices: Tensor) -> tuple[int, int]:
        """Height and width in pixels at which slices (..., H, W) enter the trunk."""
        return slice_pixels(slices.shape[-2], slices.shape[-1], self.slice_size)


def used_slices(lung_mask: Tensor, slice_mask: Tensor | None) -> Tensor:
    """Which slices count: the real ones with lung, or all real ones of a volume without any lung.

    Args:
        lung_mask: (B, 1, D, H, W), 0 outside the lungs.
        slice_mask: (B, D) bool, or None when all are real.

    Returns:
        (B, D) bool.
    """
    lung = (lung_mask > 0).flatten(3).any(3)[:, 0]
    real = torch.ones_like(lung) if slice_mask is None else slice_mask
    lung = lung & real
    return lung | (real & ~lung.any(1, keepdim=True))


def _require(condition: bool, message: str) -> None:
    """Refuse a wrong argument."""
    if not condition:
        raise UsageError(message)
