"""``COVNet``: a 2-D network on each slice, the element-wise maximum over the slices, scan diagnosis.

L. Li et al., "Artificial Intelligence Distinguishes COVID-19 from Community Acquired Pneumonia on Chest CT" (Radiology
2020), and its code (github.com/bkong999/COVNet; "reference code" below). The end-to-end model of the gated
dual-contrast ensemble, whose report names CSRNet as its backbone (appendix A.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn
from torchvision import models as tv

from covidct.errors import UsageError
from covidct.layers import scans_apart
from covidct.models.csrnet import CSRNet
from covidct.models.trunk import Trunk
from covidct.models.volume_inputs import (
    check_real,
    check_size,
    check_volumes,
    in_chunks,
    in_volumes,
    max_over_slices,
    resized,
    slice_pixels,
    slices_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from covidct.layers import Attention

__all__ = ("COVNet",)

Statistics = Literal["scan", "running"]


class COVNet(nn.Module):
    """Classify a CT volume: one 2-D trunk for all slices, global average pooling, maximum over slices, linear layer.

    Padded slices are dropped before the trunk, so they cost nothing and change nothing.

    With ``statistics="scan"`` batch normalisation takes its statistics from the slices of one scan, in evaluation as in
    training: the reference code leaves it in training mode throughout, with one scan per batch. The result of a scan
    then depends on which of its slices are shown, but never on the other scans of a batch, and all its slices go
    through the trunk in one pass: parts would have statistics of their own, so that memory in evaluation grows with
    their number. With ``"running"`` the usual running estimates serve in evaluation, where slices go through in chunks;
    in training all real slices of the batch are normalised together. CSRNet has no batch normalisation and is the same
    with both.

    Args:
        num_classes: C, at least 2 (softmax, binary too); 3 in the publication.
        backbone: ``"resnet50"`` (publication), any other ResNet, ResNeXt, Wide ResNet or DenseNet of torchvision, or
            ``"csrnet"`` (the report).
        attention: ``"se"``, ``"eca"`` or ``"cbam"`` blocks in the backbone, or None; CSRNet has no place for them.
        statistics: of batch normalisation, ``"scan"`` (reference code) or ``"running"``.
        slice_size: pixels of the longer side that slices are resized to (bilinear, aspect kept) before the trunk; None
            keeps the size (224 in the recommendation of the report's recipe).
        slices_per_chunk: slices per pass in evaluation, where statistics allow it: bounds the memory, changes no
            result.
        checkpointing: recompute activations in the backward pass instead of keeping them.
        weights: weights of the backbone that :meth:`load_backbone` takes, loaded at once; None is random
            initialisation.

    Attributes:
        cam_layer: name of the submodule that gives the last feature map.

    Raises:
        UsageError: for a value out of range, or a backbone that is not pooled over one last feature map.
        WeightsError: when ``weights`` cannot be had.
    """

    def __init__(
        self,
        *,
        num_classes: int = 3,
        backbone: str = "resnet50",
        attention: Attention | None = None,
        statistics: Statistics = "scan",
        slice_size: int | None = 224,
        slices_per_chunk: int = 16,
        checkpointing: bool = False,
        weights: str | None = None,
    ) -> None:
        """Build the network."""
        super().__init__()
        if num_classes < 2:
            raise UsageError(f"num_classes={num_classes} is too few: softmax needs at least 2, binary too.")
        if statistics not in get_args(Statistics):
            raise UsageError(f"statistics={statistics!r} is unknown: use 'scan' or 'running'.")
        check_size("slice_size", slice_size)
        check_size("slices_per_chunk", slices_per_chunk, optional=False)
        self.statistics, self.slice_size = statistics, slice_size
        self.slices_per_chunk, self.checkpointing = slices_per_chunk, checkpointing
        self.trunk = _trunk(backbone, attention, statistics)
        self.head = nn.Linear(self.trunk.width, num_classes)
        inside = "trunk" if isinstance(self.trunk, CSRNet) else "trunk.network"
        self.cam_layer = f"{inside}.{self.trunk.last_maps}"
        if weights is not None:
            self.load_backbone(weights)

    @property
    def by_scan(self) -> bool:
        """Whether the slices of a scan must pass the trunk together, and without those of others."""
        return self.statistics == "scan" and isinstance(self.trunk, Trunk)

    def load_backbone(self, weights: str) -> None:
        """Load weights into the trunk; attention blocks, CSRNet's dilated layers and the head stay as they are.

        Args:
            weights: as :meth:`covidct.models.Trunk.load_published` or :meth:`covidct.models.CSRNet.load_published`
                takes them.

        Raises:
            UsageError: when the backbone has no weights of that name.
            WeightsError: when they cannot be had or do not fit.
        """
        self.trunk.load_published(weights)

    def forward(self, image: Tensor, slice_mask: Tensor | None = None) -> Tensor:
        """Logits of each volume.

        Args:
            image: (B, C, D, H, W) float32 in [0, 1], C = 1 or 3.
            slice_mask: (B, D) bool, True = real slice. None means no padding, and a path without data-dependent shapes,
                which can be exported.

        Returns:
            (B, num_classes) logits.

        Raises:
            BatchError: when the shapes do not fit, a volume has no real slice, or batch normalisation would see one
                value per channel.
        """
        features, used = self.slice_features(image, slice_mask)
        logits: Tensor = self.head(self.fuse(features, used))
        return logits

    def slice_features(self, image: Tensor, slice_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pooled features of each slice; ``head`` on them gives scores per slice.

        Args:
            image: as in :meth:`forward`.
            slice_mask: as in :meth:`forward`.

        Returns:
            features (B, D, F) float32, 0 on padding, and used (B, D) bool, the real slices.
        """
        check_volumes(image, None, slice_mask)
        if slice_mask is not None:
            check_real(slice_mask)
        used = self.cam_slices(image, slice_mask)
        if not self.by_scan:
            rows = self._encode(slices_of(image, slice_mask))
        elif slice_mask is None and torch.compiler.is_exporting():  # without a loop over the batch
            with scans_apart(self.trunk, image.shape[0], image.shape[2]):
                rows = self._pooled(slices_of(image, None))
        else:
            scans = image.transpose(1, 2).unbind()
            if slice_mask is not None:
                scans = tuple(scan[real] for scan, real in zip(scans, slice_mask, strict=True))
            rows = torch.cat([self._pooled(scan) for scan in scans])
        return rows.reshape(*used.shape, -1) if slice_mask is None else in_volumes(rows, used), used

    def cam_slices(self, image: Tensor, slice_mask: Tensor | None = None) -> Tensor:
        """Which slices pass the trunk, for :class:`covidct.explain.GradCAM`.

        Args:
            image: as in :meth:`forward`.
            slice_mask: as in :meth:`forward`.

        Returns:
            (B, D) bool; all of them without ``slice_mask``.
        """
        return torch.ones_like(image[:, 0, :, 0, 0], dtype=torch.bool) if slice_mask is None else slice_mask

    def fuse(self, features: Tensor, used: Tensor) -> Tensor:
        """Join the slices of each volume by the element-wise maximum.

        Args:
            features: (B, D, F).
            used: (B, D) bool, at least one True per volume.

        Returns:
            (B, F), with a gradient in one slice per feature only.
        """
        return max_over_slices(features, used)

    def feature_maps(self, slices: Tensor) -> Tensor:
        """Last feature map of single slices, of one scan where its statistics normalise them.

        Args:
            slices: (N, C, H, W) float32 in [0, 1], C = 1 or 3.

        Returns:
            (N, F, h, w); 7 x 7 for 224 x 224 pixels, of CSRNet 28 x 28.
        """
        size = slice_pixels(slices.shape[-2], slices.shape[-1], self.slice_size)
        return self.trunk.feature_maps(resized(slices, size), checkpointing=self.checkpointing)

    def _encode(self, slices: Tensor) -> Tensor:
        """(N, C, H, W) slices of any scans to (N, F) float32 features."""
        if self.training or torch.compiler.is_compiling():
            return self._pooled(slices)
        return in_chunks(self._pooled, slices, step=self.slices_per_chunk)

    def _pooled(self, slices: Tensor) -> Tensor:
        """Trunk and pooling; the pooling is float32 under autocast too."""
        maps = self.feature_maps(slices)
        return maps.mean((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))


def _trunk(backbone: str, attention: Attention | None, statistics: Statistics) -> Trunk | CSRNet:
    """The network of one slice, with random weights."""
    if backbone == "csrnet":
        if attention is not None:
            raise UsageError(f"attention={attention!r} has no place in csrnet: choose another backbone, or null.")
        return CSRNet()
    trunk = Trunk(backbone, attention=attention, running_estimates=statistics == "running")
    if not isinstance(trunk.network, tv.ResNet | tv.DenseNet):
        raise UsageError(
            f"backbone={backbone!r} is not pooled over one last feature map: use a ResNet, ResNeXt, Wide ResNet or "
            "DenseNet of torchvision, or 'csrnet'."
        )
    return trunk
