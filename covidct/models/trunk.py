"""``Trunk``: any torchvision network as an encoder of slices and X-rays."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models as tv

from covidct.errors import BatchError, UsageError, WeightsError
from covidct.layers import Attention, forget_estimates, insert_attention, recompute
from covidct.models.contrastive_weights import is_checkpoint, read_contrastive
from covidct.models.imagenet import (
    IMAGENET_GREY_MEAN,
    IMAGENET_GREY_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    modern_name,
    statistics_buffer,
)
from covidct.models.volume_inputs import check_statistics
from covidct.weights import batch_counters, imagenet_weights, load_state, weights_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

__all__ = ("Trunk",)

_UNFIT = ("googlenet", "inception", "mnasnet", "squeezenet")  # several outputs, own loading, no linear classifier
_LAST_MAPS = ("layer4", "features", "trunk_output", "conv5")  # by family: its last feature map
_CHANNELS_LAST = "swin"  # its feature maps are (N, h, w, F)
_LEAST = {"alexnet": 63, "convnext": 32, "densenet": 29, "vgg": 32}  # pixels per side by family: less leaves nothing
_FIXED = {"maxvit": 224, "vit": 224}  # pixels per side that the family is made for
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Trunk(nn.Module):
    """A classification network of ``torchvision.models`` without its classifier: images in, pooled features out.

    Parameters keep torchvision's names below ``network``, so that published weights load. Mean and standard deviation
    belong to the network, so that weights and normalisation cannot part.

    Attributes:
        backbone: its name.
        in_channels: of the images that the network sees.
        attention: its attention blocks, None without.
        width: F, number of features.
        last_maps: name of the submodule of ``network`` that gives the last feature map, as it is pooled; None where
            there is none.

    Args:
        backbone: any torchvision classification network with a linear classifier (``"resnet50"``,
            ``"resnext50_32x4d"``, ``"densenet169"``, ``"efficientnet_b0"``, ...).
        in_channels: 3: the published network, a grey image is repeated for it; 1: its first convolution takes one
            channel, with kernels that are the sums of the three channels' (of published weights and of random ones). As
            long as the channels have one mean and standard deviation, both give the same features of a grey image.
        attention: blocks put into a ResNet, ResNeXt or DenseNet; see :func:`covidct.layers.insert_attention`.
        running_estimates: False: batch normalisation keeps none, it takes its statistics from what passes it in
            evaluation too.
        mean: of one or three channels, in [0, 1], one where ``in_channels`` is 1; None is ImageNet's, of one channel
            the mean of its three.
        std: of one or three channels, above 0; as ``mean``.
        weights: what :meth:`load_published` takes, loaded at once; None is random initialisation.

    Raises:
        UsageError: for an unknown network, another number of channels, attention that does not suit it, or impossible
            statistics.
        WeightsError: when ``weights`` cannot be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        *,
        in_channels: Literal[1, 3] = 3,
        attention: Attention | None = None,
        running_estimates: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        weights: str | None = None,
    ) -> None:
        """Build the network."""
        super().__init__()
        network = _network(backbone)
        self._stem = _set_channels(network, in_channels)
        self._classifier, last = [pair for pair in network.named_modules() if isinstance(pair[1], nn.Linear)][-1]
        network.set_submodule(self._classifier, nn.Identity())
        if attention is not None:
            insert_attention(network, attention)
        if isinstance(network, tv.DenseNet):
            # Its last ReLU is a function that no name leads to; as a part it can be explained, and twice is once. This
            # one keeps its input for the backward pass: torchvision's works in place and overwrites its output.
            network.features.add_module("relu5", nn.Threshold(0.0, 0.0))
        if not running_estimates:
            forget_estimates(network)
        self.backbone, self.in_channels, self.attention = backbone, in_channels, attention
        self.width = last.in_features
        self.last_maps = next((name for name in _LAST_MAPS if hasattr(network, name)), None)
        if backbone.startswith(_CHANNELS_LAST):
            self.last_maps = None
        self.network = network.to(memory_format=torch.channels_last)
        usual = (IMAGENET_GREY_MEAN, IMAGENET_GREY_STD) if in_channels == 1 else (IMAGENET_MEAN, IMAGENET_STD)
        for name, given, imagenet in (("mean", mean, usual[0]), ("std", std, usual[1])):
            values = imagenet if given is None else given
            self.register_buffer(name, statistics_buffer(name, values, channels=in_channels))
        if weights is not None:
            self.load_published(weights)

    def load_published(self, weights: str) -> None:
        """Load published weights; attention blocks keep theirs, the published classifier is left out.

        Args:
            weights: name in torchvision's weights enum of the backbone, name of published weights, or path of a file
                with torchvision's names; or a ``.ckpt`` file of :class:`covidct.tasks.SelfTransTask`, whose query trunk
                is taken whole, attention too: backbone, attention, mean and standard deviation must be this network's,
                and it must have three input channels. Running estimates are left out where this network keeps none.

        Raises:
            UsageError: when the backbone has no weights of that name.
            WeightsError: when they cannot be had or do not fit.
        """
        weights = weights_path(weights)
        if is_checkpoint(weights):
            self._load_contrastive(weights)
            return
        self.load_torchvision(imagenet_weights(self.backbone, weights), source=weights)

    def _load_contrastive(self, path: str) -> None:
        """Load the query trunk of a contrastive pre-training."""
        stored, name = read_contrastive(path), Path(path).name
        if (stored.backbone, stored.attention) != (self.backbone, self.attention):
            raise WeightsError(
                f"{name} holds a {stored.backbone} with attention={stored.attention}, not a {self.backbone} with "
                f"attention={self.attention}: set backbone and attention as there."
            )
        if self.in_channels != 3:
            raise WeightsError(f"{name} holds a {self.backbone} of three input channels: set in_channels=3.")
        if any((stored.trunk[key] != own).any() for key, own in (("mean", self.mean), ("std", self.std))):
            mean, std = ([round(v, 8) for v in stored.trunk[key].flatten().tolist()] for key in ("mean", "std"))
            raise WeightsError(
                f"The trunk in {name} was trained on images normalised with mean={mean} and std={std}: set them so, "
                "weights and normalisation belong together."
            )
        own, prefix = self.network.state_dict(), "network."
        network = {key.removeprefix(prefix): v for key, v in stored.trunk.items() if key.startswith(prefix)}
        wanted = {key: v for key, v in network.items() if key in own or not key.endswith(_STATISTICS)}
        load_state(self.network, wanted, source=name)

    def load_torchvision(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Load a state under torchvision's names; attention blocks keep theirs, the classifier is left out.

        Running estimates are left out too where the network keeps none. Kernels of three channels are added up where
        the network has one.

        Args:
            state: names to tensors.
            source: where it comes from, for messages.

        Raises:
            WeightsError: when it does not fit.
        """
        known = self.network.state_dict()
        found = {name: value for name, value in known.items() if _is_attention(name)}
        prefix = f"{self._classifier}."
        for name, value in (batch_counters(state) | dict(state)).items():
            if name.startswith(prefix):
                continue
            modern = modern_name(name)
            inside = re.sub(r"\.(bn[23])\.", r".\1.norm.", modern)
            ours = inside if inside in known else modern
            if ours in known or not ours.endswith(_STATISTICS):
                found[ours] = value
        stem = f"{self._stem}.weight"
        if self.in_channels == 1 and stem in found and found[stem].ndim == 4:
            found[stem] = found[stem].sum(1, keepdim=True)
        load_state(self.network, found, source=source)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images.

        Args:
            images: (N, C, H, W) float32 in [0, 1]; C = 1, or 3 where the network has three input channels, for which
                one channel is repeated.

        Returns:
            (N, F) in the dtype of the network.

        Raises:
            BatchError: for another shape, a size that the network cannot take, or when batch normalisation would see
                one value per channel.
        """
        features: Tensor = self.network(self._normalised(images))
        return features

    def feature_maps(self, images: Tensor, *, checkpointing: bool = False) -> Tensor:
        """Last feature map of images, of a ResNet, ResNeXt or DenseNet.

        Args:
            images: as in :meth:`forward`.
            checkpointing: in training, recompute activations in the backward pass instead of keeping them.

        Returns:
            (N, F, h, w); 7 x 7 for 224 x 224 pixels. Their means over the pixels are what :meth:`forward` gives.

        Raises:
            BatchError: as :meth:`forward`.
            UsageError: of another network.
        """
        stages, blocks = _parts(self.network, self.backbone)
        x = self._normalised(images)
        if checkpointing and self.training and torch.is_grad_enabled():
            for block in blocks:
                x = recompute(block, x)
            return x
        for stage in stages:
            x = stage(x)
        return x

    def _normalised(self, images: Tensor) -> Tensor:
        """Images as the network takes them, (N, ``in_channels``, H, W)."""
        if images.ndim != 4 or images.shape[1] not in (1, self.in_channels):
            channels = "1 or 3" if self.in_channels == 3 else "1"
            raise BatchError(f"'image' must be (N, {channels}, H, W), its shape is {tuple(images.shape)}.")
        height, width = images.shape[-2:]
        self._require_size(height, width)
        if any(norm.training or not norm.track_running_stats for norm in _norms(self.network)):
            check_statistics(images.shape[0], (height, width))
        x = (images - self.mean) / self.std
        x = x.expand(-1, self.in_channels, -1, -1)  # statistics of one channel leave one
        return x.contiguous(memory_format=torch.channels_last)

    def _require_size(self, height: int, width: int) -> None:
        """Refuse images that the network cannot take, in which torchvision fails without a word about it."""
        least = next((side for family, side in _LEAST.items() if self.backbone.startswith(family)), 1)
        fixed = next((side for family, side in _FIXED.items() if self.backbone.startswith(family)), None)
        if min(height, width) < least or (fixed and (height, width) != (fixed, fixed)):
            wanted = f"images of {fixed}x{fixed} pixels" if fixed else f"at least {least} pixels per side"
            raise BatchError(f"{self.backbone} takes {wanted}, not {height}x{width}: set the size of the data module.")


def _network(backbone: str) -> Any:  # noqa: ANN401  (torchvision has no types)
    """A network of torchvision with random weights."""
    if backbone not in tv.list_models(module=tv) or backbone.startswith(_UNFIT):
        raise UsageError(
            f"backbone={backbone!r} is no torchvision network with a linear classifier: use one such as 'resnet50',"
            " 'resnext50_32x4d', 'densenet169' or 'efficientnet_b0'."
        )
    return tv.get_model(backbone, weights=None)


def _set_channels(network: nn.Module, channels: int) -> str:
    """Let the first convolution take 1 or 3 channels, one by the sums of its kernels over three; gives its name."""
    if channels not in (1, 3):
        raise UsageError(f"in_channels={channels!r} is not usable: give 1 (grey) or 3 (colour, grey is repeated).")
    name: str
    name, stem = next(pair for pair in network.named_modules() if isinstance(pair[1], nn.Conv2d))
    if channels == 1:
        stem.in_channels = 1
        stem.weight = nn.Parameter(stem.weight.detach().sum(1, keepdim=True))
    return name


def _norms(network: nn.Module) -> list[_BatchNorm]:
    """Its batch normalisations."""
    return [part for part in network.modules() if isinstance(part, _BatchNorm)]


def _parts(network: nn.Module, backbone: str) -> tuple[list[nn.Module], list[nn.Module]]:
    """What leads to the last feature map, one after the other: few parts with names, and the same as small blocks."""
    if isinstance(network, tv.ResNet):
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        layers = [network.layer1, network.layer2, network.layer3, network.layer4]
        return [stem, *layers], [stem, *(block for layer in layers for block in layer)]
    if isinstance(network, tv.DenseNet):
        parts = list(network.features)
        return [network.features], [nn.Sequential(*parts[:4]), *parts[4:]]
    raise UsageError(
        f"backbone={backbone!r} is not pooled over one last feature map: use a ResNet, ResNeXt or DenseNet here."
    )


def _is_attention(name: str) -> bool:
    """Whether an entry belongs to an inserted block."""
    return re.search(r"\.attention\.|^features\.attention\d", name) is not None
