"""``UNet3d``: the 3-D U-Net that segments the lungs.

G. Li, C. Sun, Z. Sun, "A Deep Learning Based Method For COVID-19 Classification Using Chest CT Images", section II.B to
II.D, after O. Cicek et al., "3D U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation", MICCAI 2016.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from covidct.errors import BatchError, UsageError
from covidct.layers import recompute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ("UNet3d",)

_NORMS = {"batch": nn.BatchNorm3d, "instance": nn.InstanceNorm3d}


class UNet3d(nn.Module):
    """3-D U-Net: a label for every voxel of a volume.

    Each level has two 3x3x3 convolutions with normalisation and ReLU. 2x2x2 max-pooling leads down, a transposed 2x2x2
    convolution up, where the result is joined with the level's own features.

    The default is the lung network of the mask-weighted GAP system. Its text leaves out widths, depth and
    normalisation; those here are a recommendation. Its convolutions must be padded: without padding 128 becomes 29,
    which cannot be pooled. The network of 2016, with valid convolutions, is :meth:`cicek`.

    Args:
        in_channels: C, channels of the image.
        num_classes: channels of the result, at least 2; 3: background, right lung, left lung.
        channels: width of each level, top down, at least two levels; (32, 64, 128, 256) has 5,602,595 parameters.
        norm: ``"batch"``, ``"instance"`` (with learned scale and shift) or None after each convolution.
        upsample: ``"transpose"``, the transposed 2x2x2 convolution of both documents.
        pad: sizes that cannot be pooled are padded with 0, the low end of the window (air) and what the convolutions
            themselves pad with, at the far end of each axis, and the result is cropped back; without it they are
            refused. Only with padded convolutions.
        checkpointing: recompute activations in the backward pass instead of keeping them, to fit 128^3 on small
            devices.
        padding: ``"same"`` keeps the size; ``"valid"`` loses 2 voxels per convolution and crops the joined features to
            the centre.
        widening: where the channels grow. ``"level"``: in the first convolution of a level, and the transposed
            convolution shrinks them again. ``"pool"`` (2016): in the second, from half the width, and the transposed
            convolution keeps the channels and has no bias.

    Raises:
        UsageError: for a value out of range.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        num_classes: int = 3,
        channels: Sequence[int] = (32, 64, 128, 256),
        norm: Literal["batch", "instance"] | None = "batch",
        upsample: Literal["transpose"] = "transpose",
        pad: bool = False,
        checkpointing: bool = False,
        padding: Literal["same", "valid"] = "same",
        widening: Literal["level", "pool"] = "level",
    ) -> None:
        """Build the network with random weights."""
        super().__init__()
        _check_counts(in_channels, num_classes, channels)
        _require(norm is None or norm in _NORMS, f"norm={norm!r} is unknown: use 'batch', 'instance' or null.")
        _require(upsample == "transpose", f"upsample={upsample!r} is unknown: use 'transpose'.")
        _require(padding in ("same", "valid"), f"padding={padding!r} is unknown: use 'same' or 'valid'.")
        _require(widening in ("level", "pool"), f"widening={widening!r} is unknown: use 'level' or 'pool'.")
        _require(
            not (pad and padding == "valid"),
            "pad=True keeps the size of the volume, which valid convolutions do not: use padding='same'.",
        )
        early = widening == "pool"
        _require(
            not early or all(width % 2 == 0 for width in channels),
            f"channels={tuple(channels)} has an odd width: widening='pool' starts each level with half of it.",
        )
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.channels = tuple(channels)
        self.norm = norm
        self.pad = pad
        self.checkpointing = checkpointing
        self.padding = padding
        margin = 1 if padding == "same" else 0
        pairs = list(pairwise(self.channels))[::-1]
        self.down = nn.ModuleList(
            _double(inner, outer // 2 if early else outer, outer, norm, margin)
            for inner, outer in pairwise((in_channels, *self.channels))
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(deep, deep if early else shallow, 2, stride=2, bias=not early) for shallow, deep in pairs
        )
        self.merge = nn.ModuleList(
            _double(shallow + (deep if early else shallow), shallow, shallow, norm, margin) for shallow, deep in pairs
        )
        self.head = nn.Conv3d(self.channels[0], num_classes, 1)

    @classmethod
    def cicek(
        cls,
        *,
        in_channels: int = 3,
        num_classes: int = 3,
        norm: Literal["batch", "instance"] | None = "batch",
        checkpointing: bool = False,
    ) -> UNet3d:
        """The network of Cicek et al. 2016: valid convolutions, channels doubled before the pool.

        Its 19,069,955 parameters count convolutions alone, without the scales and shifts of batch normalisation.
        A tile of 132 x 132 x 116 voxels gives 44 x 44 x 28 labels.

        Args:
            in_channels: as in the class; 3 in 2016.
            num_classes: as in the class; 3 in 2016.
            norm: as in the class.
            checkpointing: as in the class.

        Returns:
            The network with random weights.

        Raises:
            UsageError: for a value out of range.
        """
        return cls(
            in_channels=in_channels,
            num_classes=num_classes,
            channels=(64, 128, 256, 512),
            norm=norm,
            checkpointing=checkpointing,
            padding="valid",
            widening="pool",
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every voxel.

        Args:
            image: (B, C, D, H, W) in [0, 1].

        Returns:
            (B, num_classes, D, H, W) logits; with valid convolutions of the central voxels only.

        Raises:
            BatchError: when the shape is not (B, C, D, H, W), or normalisation would see one value per channel.
            UsageError: when the size cannot be pooled and ``pad`` is off.
        """
        logits = self._run(self.fitted(image))
        return logits[..., : image.shape[2], : image.shape[3], : image.shape[4]]  # without what was padded

    def fitted(self, image: Tensor) -> Tensor:
        """The image as the levels take it.

        Args:
            image: (B, C, D, H, W).

        Returns:
            (B, C, D', H', W'), with zeros at the far end of each axis if ``pad`` is on and the size needs them; else
            the image itself.

        Raises:
            BatchError: as in :meth:`forward`.
            UsageError: as in :meth:`forward`.
        """
        size, valid = tuple(image.shape[2:]), self.valid_size(image)
        if size == valid:
            return image
        if not self.pad:
            raise UsageError(
                f"A volume of {_text(size)} voxels cannot be pooled {len(self.up)} times: use {_text(valid)}, the next "
                f"valid size{', or pad=True' if self.padding == 'same' else ''}."
            )
        missing = [full - side for side, full in zip(size, valid, strict=True)]
        return F.pad(image, [edge for count in missing[::-1] for edge in (0, count)])

    def valid_size(self, image: Tensor) -> tuple[int, ...]:
        """The smallest size that can be pooled, per axis and not below that of ``image``.

        Args:
            image: (B, C, D, H, W).

        Returns:
            (D, H, W) in voxels; the image's own size when that can be pooled.

        Raises:
            BatchError: when the shape is not (B, C, D, H, W), or normalisation would see one value per channel.
        """
        if image.ndim != 5 or image.shape[1] != self.in_channels:
            raise BatchError(f"'image' must be (B, {self.in_channels}, D, H, W), its shape is {tuple(image.shape)}.")
        pools = len(self.up)
        lost = 0 if self.padding == "same" else 4  # two convolutions, two sides
        lowest = [_lowest(side, pools, lost) for side in image.shape[2:]]
        # batch normalisation in evaluation mode takes any size
        values = math.prod(lowest) * (1 if self.norm == "instance" else len(image) if self.training else 2)
        if self.norm is not None and values < 2:
            raise BatchError(
                f"A volume of {_text(image.shape[2:])} voxels ends in one value per channel at the lowest level, where "
                f"{self.norm} normalisation needs two: give a larger one."
            )
        step = 1 << pools
        return tuple(step * side + lost * (2 * step - 1) for side in lowest)

    def _run(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = self._block(block, F.max_pool3d(x, 2) if level else x)
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, kept[-2::-1], strict=True):
            x = self._block(_Join(up, merge), skip, x)
        logits: Tensor = self.head(x)
        return logits

    def _block(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return recompute(block, *inputs)
        result: Tensor = block(*inputs)
        return result


class _Join(nn.Module):
    """Bring the deeper features up, join them with the level's own and merge; made anew in each pass, owns nothing."""

    def __init__(self, up: nn.Module, merge: nn.Module) -> None:
        super().__init__()
        self.up = up
        self.merge = merge

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        """(B, s, D, H, W) and (B, d, D/2, H/2, W/2) to (B, s, D, H, W); the first is cropped to fit the second."""
        raised = self.up(deep)
        for axis in (2, 3, 4):
            over = skip.shape[axis] - raised.shape[axis]
            skip = skip.narrow(axis, over // 2, raised.shape[axis]) if over else skip
        result: Tensor = self.merge(torch.cat((skip, raised), dim=1))
        return result


def _double(inner: int, middle: int, outer: int, norm: str | None, margin: int) -> nn.Sequential:
    """Two 3x3x3 convolutions, each with normalisation and ReLU; ``margin``: zeros at each side."""
    layers: list[nn.Module] = []
    for before, after in ((inner, middle), (middle, outer)):
        layers.append(nn.Conv3d(before, after, 3, padding=margin))
        if norm is not None:
            layers.append(_NORMS[norm](after, affine=True))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _lowest(side: int, pools: int, lost: int) -> int:
    """Side of the lowest level in the smallest volume, not below ``side``, that can be pooled and leaves a voxel.

    With ``step = 2**pools``, a lowest level of n needs ``step * n + lost * (2 * step - 1)`` voxels at the top and
    returns ``step * n - lost * (step - 1)``, where ``lost`` is what the two convolutions of a level take away.
    """
    step = 1 << pools
    lowest = -((lost * (2 * step - 1) - side) // step)
    return max(lost * (step - 1) // step + 1, lowest) if lost else lowest  # a side of any size leaves one of 1


def _check_counts(in_channels: int, num_classes: int, channels: Sequence[int]) -> None:
    """Refuse numbers of channels that make no network."""
    _require(
        type(in_channels) is int and in_channels >= 1,
        f"in_channels={in_channels!r} is not usable: give a whole number of at least 1.",
    )
    _require(
        type(num_classes) is int and num_classes >= 2,
        f"num_classes={num_classes!r} is not usable: give a whole number of at least 2, background included.",
    )
    _require(
        len(channels) >= 2 and all(type(width) is int and width >= 1 for width in channels),
        f"channels={tuple(channels)} is not usable: give the widths of at least two levels, each at least 1.",
    )


def _text(size: Sequence[int]) -> str:
    return " x ".join(str(side) for side in size)


def _require(condition: bool, message: str) -> None:
    """Refuse a wrong argument."""
    if not condition:
        raise UsageError(message)
