"""The arithmetic of a padded ``UNet3d`` in evaluation mode, reordered for CPUs.

Per level: both convolutions run slab by slab along the depth, so that what passes between them stays in the cache; the
last two slices of the first are kept for the next slab, so nothing is computed twice and the seams are exact. The
features are channels-last, in which oneDNN's convolutions reach the peak of its matrix product.
"""

from __future__ import annotations

from itertools import product, zip_longest
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional as F

from covidct.layers import fold_batch_norm, fold_upsampling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from covidct.models.unet3d import UNet3d

__all__ = ("SlabUNet3d",)

_LAST = torch.channels_last_3d
_SLAB_BYTES = 8 * 2**20  # of one level's features; with its neighbours it stays in a last-level cache of 32 MiB
_PARITIES = tuple(product((0, 1), repeat=3))


class _Conv(NamedTuple):
    """Weight (O, I, d, h, w), channels-last, and bias (O,) of a convolution that pads height and width alone."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """(1, I, D + d - 1, H, W) to (1, O, D, H, W)."""
        _, _, _, height, width = self.weight.shape
        result: Tensor = F.conv3d(x, self.weight, self.bias, padding=(0, height // 2, width // 2))
        return result


class SlabUNet3d:
    """The reordered network.

    Args:
        net: padded, with batch normalisation or none, on any device; it stays as it is.
        dtype: of weights and features.
    """

    def __init__(self, net: UNet3d, dtype: torch.dtype) -> None:
        """Fold the weights."""
        self.device = net.head.weight.device
        self.down = [_encoder(block, dtype, first=level == 0) for level, block in enumerate(net.down)]
        self.up = [_decoder(up, merge, dtype) for up, merge in zip(net.up, net.merge, strict=True)]
        self.head = _conv(*fold_batch_norm(net.head), dtype)

    def slabs(self, image: Tensor) -> Iterator[Tensor]:
        """Logits, slab by slab.

        Args:
            image: (1, C, D, H, W) of a valid size.

        Yields:
            (1, num_classes, d, H, W), from the first slice to the last.
        """
        kept: list[Tensor] = []
        x = image
        for level, (first, second) in enumerate(self.down):
            x = _max_pool(x, self._step(x, x.shape[1])) if level else x
            x = self._gathered(first, second, x)
            kept.append(x)
        deep = kept.pop()
        for first, second in self.up[:-1]:
            deep = self._gathered(first, second, kept.pop(), deep)
        first, second = self.up[-1]
        for _, part in self._streamed(first, second, kept.pop(), deep):
            yield self.head(part.relu_())

    def _gathered(self, first: _First, second: _Conv, *inputs: Tensor) -> Tensor:
        """The features after both convolutions, (1, O, D, H, W)."""
        whole = _empty((1, second.weight.shape[0], *inputs[0].shape[2:]), inputs[0])
        for start, part in self._streamed(first, second, *inputs):
            torch.clamp_min(part, 0, out=whole[:, :, start : start + part.shape[2]])
        return whole

    def _streamed(self, first: _First, second: _Conv, *inputs: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Start and features before the last ReLU of each slab; the slabs end one slice before those of ``first``."""
        depth = inputs[0].shape[2]
        step = self._step(inputs[0], second.weight.shape[1])
        tail = None
        for start in range(0, depth, step):
            stop = min(start + step, depth)
            new = first(start, stop, *inputs)
            edge = torch.zeros_like(new[:, :, :1])
            parts = [edge if tail is None else tail, new, *([edge] if stop == depth else [])]
            yield max(start - 1, 0), second(torch.cat(parts, 2))
            tail = new[:, :, -2:]

    def _step(self, x: Tensor, channels: int) -> int:
        """Slices per slab, even, when there are ``channels`` of them in the size and type of ``x``."""
        if self.device.type != "cpu":
            return x.shape[2]
        return 2 * max(1, _SLAB_BYTES // (2 * channels * x.shape[3] * x.shape[4] * x.itemsize))


class _Shifted(NamedTuple):
    """First convolution of the image: three neighbours along the width become channels, of which oneDNN wants many."""

    conv: _Conv

    def __call__(self, start: int, stop: int, x: Tensor) -> Tensor:
        """Slices [start, stop) of the features."""
        taps = F.pad(_window(x, start, stop), (1, 1)).unfold(4, 3, 1).movedim(5, 1).flatten(1, 2)
        return self.conv(taps).relu_()


class _Plain(NamedTuple):
    """First convolution of a lower level on the way down."""

    conv: _Conv

    def __call__(self, start: int, stop: int, x: Tensor) -> Tensor:
        """Slices [start, stop) of the features."""
        return self.conv(_window(x, start, stop)).relu_()


class _Joined(NamedTuple):
    """First convolution on the way up: on the level's own features, and through the upsampling on the deeper ones.

    Attributes:
        skip: on the level's own features; its bias holds what the upsampling's bias adds in the interior.
        deep: 2x2x2 kernels, one for each parity of the voxel.
        border: (1, O, 3, 3, 3), what to add at first, interior and last voxels of each axis, where the upsampling's
            bias is partly outside the volume; 0 at the centre.
    """

    skip: _Conv
    deep: tuple[_Conv, ...]
    border: Tensor

    def __call__(self, start: int, stop: int, skip: Tensor, deep: Tensor) -> Tensor:
        """Slices [start, stop), both even, of the features."""
        result = self.skip(_window(skip, start, stop))
        source = _window(deep, start // 2, stop // 2)
        count, height, width = (stop - start) // 2, *deep.shape[3:]
        for (z, y, x), conv in zip(_PARITIES, self.deep, strict=True):
            raised = conv(source[:, :, z : z + count + 1])
            result[:, :, z::2, y::2, x::2] += raised[..., y : y + height, x : x + width]
        self._add_border(result, first=start == 0, last=stop == skip.shape[2])
        return result.relu_()

    def _add_border(self, result: Tensor, *, first: bool, last: bool) -> None:
        """Correct the outermost voxels in place."""
        ranges = (slice(0, 1), slice(1, -1), slice(-1, None))
        depths = (ranges[0], slice(int(first), result.shape[2] - int(last)), ranges[2])
        for z, y, x in product(range(3), repeat=3):
            if (z, y, x) == (1, 1, 1) or (z == 0 and not first) or (z == 2 and not last):
                continue
            result[:, :, depths[z], ranges[y], ranges[x]] += self.border[:, :, z : z + 1, y : y + 1, x : x + 1]


_First = _Shifted | _Plain | _Joined


def _window(x: Tensor, start: int, stop: int) -> Tensor:
    """Slices [start - 1, stop + 1) of (1, C, D, H, W), zeros outside."""
    depth = x.shape[2]
    inside = x[:, :, max(start - 1, 0) : min(stop + 1, depth)]
    before, after = int(start == 0), int(stop == depth)
    return F.pad(inside, (0, 0, 0, 0, before, after)) if before or after else inside


def _max_pool(x: Tensor, step: int) -> Tensor:
    """2x2x2 maximum of (1, C, D, H, W), ``step`` slices at a time: PyTorch's own makes int64 indices as well."""
    pooled = _empty((*x.shape[:2], *(side // 2 for side in x.shape[2:])), x)
    for start in range(0, x.shape[2], step):
        part = x[:, :, start : start + step]
        for axis in (2, 3):
            pairs = part.unfold(axis, 2, 2)
            part = torch.maximum(pairs[..., 0], pairs[..., 1])
        torch.maximum(part[..., 0::2], part[..., 1::2], out=pooled[:, :, start // 2 : (start + step) // 2])
    return pooled


def _empty(size: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=_LAST)


def _conv(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> _Conv:
    return _Conv(weight.to(dtype).contiguous(memory_format=_LAST), None if bias is None else bias.to(dtype))


def _folded(block: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the two convolutions of a level, with their normalisation."""
    convs = [part for part in block.children() if isinstance(part, nn.Conv3d)]
    norms = [part for part in block.children() if isinstance(part, nn.BatchNorm3d)]
    return [fold_batch_norm(conv, norm) for conv, norm in zip_longest(convs, norms)]


def _encoder(block: nn.Module, dtype: torch.dtype, *, first: bool) -> tuple[_First, _Conv]:
    (weight, bias), second = _folded(block)
    if not first:
        return _Plain(_conv(weight, bias, dtype)), _conv(*second, dtype)
    taps = weight.movedim(4, 1).flatten(1, 2).unsqueeze(-1)  # (O, 3 C, 3, 3, 1), the neighbour outermost
    return _Shifted(_conv(taps, bias, dtype)), _conv(*second, dtype)


def _decoder(up: nn.Module, merge: nn.Module, dtype: torch.dtype) -> tuple[_First, _Conv]:
    (weight, bias), second = _folded(merge)
    up_weight, up_bias = cast("Tensor", up.weight).detach(), cast("Tensor | None", up.bias)
    shallow = up_weight.shape[1]
    own, raised = weight[:, :-shallow], weight[:, -shallow:]
    deep = fold_upsampling(raised, up_weight)
    up_bias = bias.new_zeros(shallow) if up_bias is None else up_bias.detach().double()
    pattern = F.conv3d(up_bias.view(1, -1, 1, 1, 1).expand(1, -1, 3, 3, 3), raised, bias, padding=1)
    inside = pattern[0, :, 1, 1, 1]
    border = pattern - inside.view(1, -1, 1, 1, 1)
    kernels = tuple(_conv(deep[at], None, dtype) for at in _PARITIES)
    return _Joined(_conv(own, inside, dtype), kernels, border.to(dtype)), _conv(*second, dtype)
