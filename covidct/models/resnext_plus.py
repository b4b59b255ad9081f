"""``ResNeXtPlus``: volume labels in, a diagnosis and the share of each slice in it out.

A. Mohammed et al., "Semi-supervised Network for Detection of COVID-19 in Chest CT Scans" (IEEE Access 2020), sections
III and IV; "document" below. What it leaves open is a recommendation here and an argument where it matters.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torchvision import models as tv
from torchvision.models.resnet import BasicBlock

from covidct.errors import BatchError, UsageError
from covidct.layers import CBAM, MaskFusion, ScanNorm2d, SliceAttention, recompute, scans_apart
from covidct.models.imagenet import IMAGENET_MEAN, IMAGENET_STD
from covidct.models.volume_inputs import (
    check_real,
    check_size,
    check_statistics,
    check_volumes,
    resized,
    slice_pixels,
    slices_of,
)
from covidct.weights import imagenet_weights, load_state

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("ResNeXtPlus",)

Backbone = Literal["resnext50_32x4d", "resnet50", "resnet18", "resnet10"]
Variant = Literal["proposed", "N-SCA", "N-SLA", "N-MSCA"]

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class ResNeXtPlus(nn.Module):
    """Classify a CT volume from its slices, and say how much each slice counted.

    Slice and lung mask are fused by the first convolution, attended by CBAM and encoded by a ResNeXt trunk, whose
    pooled features a bidirectional LSTM reads along the body axis; slice attention sums its states, a linear layer
    decides.

    Batch normalisation keeps no running estimates (document, section V.D): in training and in evaluation it takes its
    statistics from the slices of one volume. So the result of a volume depends on which of its slices are shown, but
    never on the other volumes of a batch, and all slices go through the trunk in one pass: parts would have
    statistics of their own. Memory in evaluation grows with the number of slices, about 13 MiB each at 224 pixels. In
    training ``checkpointing`` trades time for memory.

    Args:
        num_classes: C, at least 2 (softmax, binary too); 2 in the document.
        backbone: ``"resnext50_32x4d"`` (the document says "ResNeXt": recommendation), ``"resnet50"``, ``"resnet18"``,
            or ``"resnet10"``, one basic block per stage, for machines without a GPU.
        variant: ``"proposed"`` or an ablation of the document, Table 2: ``"N-SCA"`` (no CBAM), ``"N-SLA"`` (no slice
            attention: the mean over slices), ``"N-MSCA"`` (neither mask nor CBAM).
        slice_size: pixels of the longer side that slices and masks are resized to (aspect kept) before the trunk; 224
            in the document (section V.D); None keeps the size.
        pre_bn: CBAM before the first normalisation and ReLU, on the fused maps as they are, instead of after them (the
            document: "after the first convolution and fusion").
        hidden: width of a hidden layer with ReLU before the output; None: a single linear layer (the document's "fully
            connected layer with 1024 hidden nodes and two output nodes" allows both readings; 1024 is the input too).
        lstm_std: standard deviation of the normal distribution of the LSTM's initial weights; 0.1, "0 mean and 0.01
            variance" (section V.D). Its biases begin at 0.
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
        backbone: Backbone = "resnext50_32x4d",
        variant: Variant = "proposed",
        slice_size: int | None = 224,
        pre_bn: bool = False,
        hidden: int | None = None,
        lstm_std: float = 0.1,
        checkpointing: bool = False,
        weights: str | None = None,
    ) -> None:
        """Build the network."""
        super().__init__()
        _require_choice("backbone", backbone, get_args(Backbone))
        _require_choice("variant", variant, get_args(Variant))
        _require(num_classes >= 2, f"num_classes={num_classes} is too few: softmax needs at least 2, binary too.")
        check_size("slice_size", slice_size)
        check_size("hidden", hidden)
        _require(
            isinstance(lstm_std, int | float) and 0 < lstm_std < float("inf"),
            f"lstm_std={lstm_std!r} is not usable: give a finite standard deviation above 0.",
        )
        self.backbone, self.variant, self.slice_size = backbone, variant, slice_size
        self.pre_bn, self.checkpointing = pre_bn, checkpointing
        self.uses_mask, self.uses_attention = variant != "N-MSCA", variant != "N-SLA"

        resnet = _resnet(backbone)
        self.first = MaskFusion(resnet.conv1) if self.uses_mask else resnet.conv1
        cbam = CBAM(64, kernel_size=9) if variant in ("proposed", "N-SLA") else nn.Identity()
        order = ("cbam", "bn1", "relu") if pre_bn else ("bn1", "relu", "cbam")
        parts = {"cbam": cbam, "bn1": resnet.bn1, "relu": resnet.relu}
        self.stem = nn.Sequential()
        for name in order:
            self.stem.add_module(name, parts[name])
        self.stem.add_module("maxpool", resnet.maxpool)
        self.trunk = nn.ModuleDict({f"layer{n}": getattr(resnet, f"layer{n}") for n in (1, 2, 3, 4)})
        self.lstm = nn.LSTM(resnet.fc.in_features, 512, batch_first=True, bidirectional=True)  # document, section III
        self.attention = SliceAttention(1024) if self.uses_attention else None
        self.head = _head(1024, hidden, num_classes)
        for name, parameter in self.lstm.named_parameters():
            nn.init.zeros_(parameter) if name.startswith("bias") else nn.init.normal_(parameter, std=lstm_std)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.trunk.to(memory_format=torch.channels_last)
        if weights is not None:
            self.load_backbone(weights)

    def load_backbone(self, weights: str) -> None:
        """Load published weights into the slice's first convolution and the trunk; the rest stays as it is.

        Running estimates and the classifier of the published network are left out.

        Args:
            weights: name in torchvision's weights enum of the backbone, or path of a file with torchvision's names.

        Raises:
            UsageError: when the backbone has no weights of that name.
            WeightsError: when they cannot be had or do not fit.
        """
        state = imagenet_weights(self.backbone, weights)
        kept = {k: v for k, v in state.items() if not k.startswith("fc.") and not k.endswith(_STATISTICS)}
        published = nn.ModuleDict({"conv1": self._conv_image(), "bn1": self.stem.get_submodule("bn1"), **self.trunk})
        load_state(published, kept, source=weights)

    def forward(
        self, image: Tensor, lung_mask: Tensor | None = None, slice_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Logits of each volume and the attention of its slices.

        Args:
            image: (B, C, D, H, W) float32 in [0, 1], C = 1 or 3, slices in the order of the body axis.
            lung_mask: (B, 1, D, H, W) uint8, 0 outside the lungs; not looked at by ``"N-MSCA"``, which takes None too.
            slice_mask: (B, D) bool, True = real slice; None: all are, a path without data-dependent shapes.

        Returns:
            ``"logits"`` (B, num_classes) and ``"attention"`` (B, D) float32, absent for ``"N-SLA"``: the share of each
            slice, which sums to one over a volume and is 0 on padding. A share is no probability: compare volumes by
            N times the share, N being the number of real slices.

        Raises:
            BatchError: when the shapes do not fit, or a volume has no real slice.
        """
        check_volumes(image, lung_mask, slice_mask)
        if lung_mask is None and self.uses_mask:
            raise BatchError("The network fuses 'lung_mask' with the image: give one, or use the variant 'N-MSCA'.")
        if slice_mask is None:
            states, alpha = self._read(self._encode_all(image, lung_mask), None)
            return self._result(states, alpha)
        check_real(slice_mask)
        features = [
            self._encode(volume[real], None if mask is None else mask[real])
            for (volume, mask), real in zip(_volumes(image, lung_mask), slice_mask, strict=True)
        ]
        lengths = [len(rows) for rows in features]
        pooled, alpha = self._read(pad_sequence(features, batch_first=True), lengths)
        if alpha is not None:
            share = alpha.new_zeros(slice_mask.shape)
            alpha = share.masked_scatter(slice_mask, torch.cat([a[:n] for a, n in zip(alpha, lengths, strict=True)]))
        return self._result(pooled, alpha)

    def require_attention(self) -> None:
        """Refuse to score slices without slice attention.

        Raises:
            UsageError: for the variant ``"N-SLA"``.
        """
        _require(
            self.uses_attention,
            "The variant 'N-SLA' takes the mean over the slices, so it has no slice attention and cannot give slice "
            "scores: use 'proposed', 'N-SCA' or 'N-MSCA'.",
        )

    def feature_maps(self, slices: Tensor, masks: Tensor | None = None) -> Tensor:
        """Last feature map of the slices of one volume.

        Args:
            slices: (N, C, H, W) float32 in [0, 1], C = 1 or 3; their statistics normalise them.
            masks: (N, 1, H, W) uint8, 0 outside the lungs.

        Returns:
            (N, F, h, w); 7 x 7 for 224 x 224 pixels.
        """
        size = slice_pixels(slices.shape[-2], slices.shape[-1], self.slice_size)
        check_statistics(slices.shape[0], size)
        x = (resized(slices, size) - self.mean) / self.std  # one channel becomes three here
        if self.uses_mask and masks is not None:
            x = self.first(x, F.interpolate((masks > 0).to(x.dtype), size, mode="nearest-exact"))
        else:
            x = self.first(x.contiguous(memory_format=torch.channels_last))
        if self.checkpointing and self.training and torch.is_grad_enabled():
            for block in (self.stem, *(block for layer in self.trunk.values() for block in layer.children())):
                x = recompute(block, x)
            return x
        maps: Tensor = self.stem(x)
        for layer in self.trunk.values():
            maps = layer(maps)
        return maps

    def _encode_all(self, image: Tensor, lung_mask: Tensor | None) -> Tensor:
        """Volumes without padding, as in :meth:`forward`, to (B, D, F) float32 features."""
        if not torch.compiler.is_exporting():  # volume by volume: bounds the memory
            return torch.stack([self._encode(volume, mask) for volume, mask in _volumes(image, lung_mask)])
        scans = image.shape[0], image.shape[2]
        masks = None if lung_mask is None else slices_of(lung_mask, None)
        with scans_apart(self, *scans):
            return self._encode(slices_of(image, None), masks).reshape(*scans, -1)

    def _encode(self, slices: Tensor, masks: Tensor | None) -> Tensor:
        """(N, C, H, W) slices of one volume to (N, F) float32 features."""
        return self.feature_maps(slices, masks).mean((2, 3), dtype=torch.float32)

    def _read(self, features: Tensor, lengths: list[int] | None) -> tuple[Tensor, Tensor | None]:
        """LSTM and pooling over the slices, in float32: (B, N, F) to (B, 1024) and shares (B, N)."""
        # cuDNN's LSTM has no backward pass in evaluation mode, which explanations by gradients need.
        slow = features.is_cuda and torch.is_grad_enabled() and not self.training
        plain = torch.backends.cudnn.flags(enabled=False) if slow else nullcontext()
        with torch.autocast(features.device.type, enabled=False), plain:
            if lengths is None:
                states, real = self.lstm(features)[0], None
            else:
                packed = pack_padded_sequence(features, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
                states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
                count = torch.tensor(lengths, device=features.device)
                real = torch.arange(states.shape[1], device=features.device) < count[:, None]
            if self.attention is not None:
                pooled, alpha = self.attention(states, real)
                return pooled, alpha
            if real is None:
                return states.mean(1), None
            return states.sum(1) / real.sum(1, keepdim=True), None  # states of padding are 0

    def _result(self, pooled: Tensor, alpha: Tensor | None) -> dict[str, Tensor]:
        """What :meth:`forward` returns."""
        found = {"logits": self.head(pooled)}
        return found if alpha is None else {**found, "attention": alpha}

    def _conv_image(self) -> nn.Module:
        """The first convolution of the slice."""
        return self.first.conv_image if isinstance(self.first, MaskFusion) else self.first


def _resnet(backbone: Backbone) -> tv.ResNet:
    """A torchvision network whose batch normalisation keeps no running estimates."""
    if backbone == "resnet10":
        return tv.ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=ScanNorm2d)
    network: tv.ResNet = tv.get_model(backbone, weights=None, norm_layer=ScanNorm2d)
    return network


def _head(width: int, hidden: int | None, num_classes: int) -> nn.Module:
    """The decision from the pooled states."""
    if hidden is None:
        return nn.Linear(width, num_classes)
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))


def _volumes(image: Tensor, lung_mask: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """Each volume as slices (D, C, H, W), with its masks (D, 1, H, W)."""
    masks = [None] * len(image) if lung_mask is None else lung_mask.transpose(1, 2).unbind()
    return list(zip(image.transpose(1, 2).unbind(), masks, strict=True))


def _require(condition: bool, message: str) -> None:
    """Refuse a wrong argument."""
    if not condition:
        raise UsageError(message)


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not on the list."""
    _require(value in choices, f"{name}={value!r} is unknown: use one of {', '.join(choices)}.")
