"""``inference_copy``: the arithmetic of a trained ``UNet3d``, reordered so that a CPU needs much less time.

The order is of our own; the function is that of the network.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from covidct.errors import UsageError
from covidct.models.unet3d_slabs import SlabUNet3d

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from covidct.models.unet3d import UNet3d

__all__ = ("InferenceUNet3d", "inference_copy")


def inference_copy(net: UNet3d, *, dtype: torch.dtype | None = None) -> InferenceUNet3d:
    """A frozen copy of a network for inference alone.

    It computes the same function: batch normalisation is folded into the convolutions, and each transposed convolution
    into the convolution after it, so that neither the raised nor the joined features are ever made. Each level runs in
    slabs that stay in the cache, exact at their seams. With valid convolutions or instance normalisation the copy is
    the plain network.

    Args:
        net: the trained network; it stays as it is, and later changes to it do not reach the copy.
        dtype: of weights and features. None: :func:`inference_dtype` of the network's device. float32 reproduces the
            network to 1e-4, bfloat16 its labels but for few voxels at borders.

    Returns:
        A callable: image (B, C, D, H, W) to float32 logits (B, num_classes, D, H, W).

    Raises:
        UsageError: when ``dtype`` is not a floating-point type.
    """
    device = net.head.weight.device
    dtype = dtype or inference_dtype(device)
    if not dtype.is_floating_point:
        raise UsageError(f"dtype={dtype} is not usable: give torch.float32 or torch.bfloat16.")
    return InferenceUNet3d(net, dtype)


def inference_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32.

    Args:
        device: where the network runs.

    Returns:
        The dtype.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type != "cpu":
        return torch.float32
    query = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest torch that we take
    features = query() if query is not None else {}
    return torch.bfloat16 if features.get("avx512_bf16") or features.get("amx_bf16") else torch.float32


class InferenceUNet3d:
    """What :func:`inference_copy` returns: logits by calling it, labels by :meth:`labels`.

    Args:
        net: the trained network.
        dtype: of weights and features.
    """

    def __init__(self, net: UNet3d, dtype: torch.dtype) -> None:
        """Copy the network and fold its weights."""
        self.dtype = dtype
        self._net = copy.deepcopy(net).eval().requires_grad_(False)
        self._slab_net = None
        if net.padding == "valid" or net.norm == "instance":
            self._net.to(dtype)
        else:
            self._slab_net = SlabUNet3d(self._net, dtype)
            self._net.to("meta")  # checks and pads, computes nothing

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """Logits of every voxel.

        Args:
            image: (B, C, D, H, W) in [0, 1], on the network's device.

        Returns:
            (B, num_classes, D, H, W) float32; with valid convolutions of the central voxels only.

        Raises:
            BatchError: as in :meth:`UNet3d.forward`.
            UsageError: as in :meth:`UNet3d.forward`.
        """
        return self._joined(image, Tensor.float, axis=1)

    @torch.inference_mode()
    def labels(self, image: Tensor) -> Tensor:
        """The most probable class of every voxel; the logits of the whole volume are never held.

        Args:
            image: (B, C, D, H, W) in [0, 1], on the network's device.

        Returns:
            (B, D, H, W) uint8; the first class where several are equal.

        Raises:
            BatchError: as in :meth:`UNet3d.forward`.
            UsageError: as in :meth:`UNet3d.forward`.
        """
        return self._joined(image, _first_largest, axis=0)

    def _joined(self, image: Tensor, finish: Callable[[Tensor], Tensor], *, axis: int) -> Tensor:
        """``finish`` of each slab, joined along ``axis``, the depth in its result, and cropped to the image."""
        image, size = self._net.fitted(image.to(self.dtype)), image.shape[2:]
        volumes = [torch.cat([finish(part[0]) for part in self._slabs(item[None])], axis) for item in image]
        return torch.stack(volumes)[..., : size[0], : size[1], : size[2]]

    def _slabs(self, image: Tensor) -> Iterator[Tensor]:
        """Logits (1, num_classes, d, H, W) of one volume, from the first slice to the last."""
        if self._slab_net is None:
            yield self._net(image)
        else:
            yield from self._slab_net.slabs(image)


def _first_largest(logits: Tensor) -> Tensor:
    """Arg-max over the first axis of (C, D, H, W) as uint8; that of PyTorch takes fifteen times as long."""
    best = logits[0]
    labels = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for index, rival in enumerate(logits[1:], 1):
        labels.masked_fill_(rival > best, index)
        best = torch.maximum(best, rival)
    return labels
