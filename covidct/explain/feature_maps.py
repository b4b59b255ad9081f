"""Feature maps of chosen layers as a grid, for any model: figure 15 of the gated dual-contrast ensemble document.

The document shows "four intermediate layer feature values" of one network with three sets of weights (random, ImageNet,
Self-Trans) and does not say which layers, which channels or which grey scale: all of these are recommendations here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import nn

from covidct.errors import UsageError
from covidct.explain.capture import recording
from covidct.explain.feature_layers import spread_layers
from covidct.explain.slices import network_inputs, network_of, own, place
from covidct.tasks import BaseTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.explain.capture import FeatureTape

    Batch = Mapping[str, Any] | Tensor | tuple[Any, ...]

__all__ = ("FeatureMaps", "LayerMaps", "feature_maps")

Choice = Literal["spread", "first"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerMaps:
    """What one layer of one model gave for one slice.

    Attributes:
        model: name of the model.
        layer: name of the submodule.
        maps: (n, h, w) float32, the chosen channels in the layer's own unit.
        channels: (n,) int64, their numbers.
        mean: (h, w) float32, mean over all channels.
        width: number of channels of the layer.
    """

    model: str
    layer: str
    maps: NDArray[np.float32]
    channels: NDArray[np.int64]
    mean: NDArray[np.float32]
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMaps:
    """Layers of models on one slice.

    Attributes:
        image: (H, W) float32, the slice as the first model got it, the mean over its channels.
        rows: a row per layer, in it an entry per model.
    """

    image: NDArray[np.float32]
    rows: tuple[tuple[LayerMaps, ...], ...]


def feature_maps(
    models: Mapping[str, nn.Module] | nn.Module,
    batch: Batch,
    *,
    layers: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    channels: int | Sequence[int] = 8,
    choice: Choice = "spread",
    sample: int = 0,
    slice_index: int | None = None,
) -> FeatureMaps:
    """Feature maps of chosen layers of one or more models on one slice.

    Models run one after the other in evaluation mode and are left as they were. A batch of volumes goes through whole,
    since that is what the network takes: give one scan to need the memory of one.

    Channels of different models have nothing to do with one another, and neither have the units of their maps; what can
    be compared is how much of the slice a layer keeps and how far its channels differ.

    Args:
        models: tasks or networks, by the name they are to have in the figure; a single one has that of its class.
        batch: what they take: a batch of :mod:`covidct.sample` for tasks, a tensor or the tuple of its arguments for
            networks; slices and X-rays (B, C, H, W) or volumes (B, C, D, H, W).
        layers: names of submodules, the same for all models, or by the model's name, as many for each. None takes four
            spread over each network: for each size of feature map the last of the outermost submodules that give it,
            and of these the last four (``layer1`` to ``layer4`` of a ResNet).
        channels: how many to show, all of them where there are fewer, or which ones.
        choice: with a number of channels: ``"spread"`` takes those with the largest standard deviation over the slice,
            largest first, ``"first"`` takes 0, 1, 2, ...
        sample: which of the batch.
        slice_index: of the slice in a volume; None takes the one with most lesion, else with most lung, else the
            middle one.

    Returns:
        Plain arrays, :func:`covidct.explain.feature_grid` draws them.

    Raises:
        UsageError: without a model, for a layer that there is not (the message names those there are), a channel, a
            sample or a slice that there is not, a slice that a network does not use, or a batch of the wrong form.
        BatchError: when the maps of a layer fit neither the images nor the slices.
    """
    named = dict(models) if isinstance(models, Mapping) else {type(network_of(models)).__name__: models}
    if not named:
        raise UsageError("There is no model to look into: give at least one.")
    if choice not in ("spread", "first"):
        raise UsageError(f"choice={choice!r} is unknown: use 'spread' or 'first'.")
    image: NDArray[np.float32] | None = None
    columns: list[list[LayerMaps]] = []
    for name, model in named.items():
        taken, network = own(model, batch), network_of(model)
        inputs = network_inputs(model, taken)
        index = _slice_index(inputs[0], batch, sample, slice_index)
        size = (inputs[0].shape[-2], inputs[0].shape[-1])
        wanted = _layers(layers, name) or spread_layers(network, partial(_run, model, taken), size=size)
        with ExitStack() as stack:
            tapes = [stack.enter_context(recording(network, layer)) for layer in wanted]
            stack.enter_context(torch.no_grad())  # last, so that it ends first: a recording enables gradients
            _run(model, taken)
            found = [_of_slice(tape, network, inputs, sample, index) for tape in tapes]
        columns.append(
            [_chosen(name, layer, maps, channels, choice) for layer, maps in zip(wanted, found, strict=True)]
        )
        if image is None:
            shown = inputs[0][sample] if index is None else inputs[0][sample, :, index]
            image = shown.float().mean(0).cpu().numpy()
    if len({len(column) for column in columns}) > 1:
        counts = ", ".join(f"{name} {len(column)}" for name, column in zip(named, columns, strict=True))
        raise UsageError(f"The models have unlike numbers of layers ({counts}): name as many for each with layers=.")
    return FeatureMaps(cast("NDArray[np.float32]", image), tuple(zip(*columns, strict=True)))


def _run(model: nn.Module, taken: Any) -> None:  # noqa: ANN401
    """Run a model on a batch of :func:`covidct.explain.slices.own`; what it returns does not matter."""
    model(taken) if isinstance(model, BaseTask) else model(*taken)


def _layers(layers: Sequence[str] | Mapping[str, Sequence[str]] | None, name: str) -> Sequence[str] | None:
    """The layers asked for of one model, None where they are to be found."""
    if isinstance(layers, Mapping):
        if name not in layers:
            raise UsageError(f"layers names none of the model {name!r}: give them for every model, or a list for all.")
        layers = layers[name]
    if isinstance(layers, str) or (layers is not None and not layers):
        raise UsageError(f"layers={layers!r} is no list of names: give at least one submodule, as [...].")
    return layers


def _slice_index(image: Tensor, batch: Batch, sample: int, slice_index: int | None) -> int | None:
    """The slice to look at, None for images."""
    if not 0 <= sample < len(image):
        raise UsageError(f"sample={sample} is outside the batch: it has {len(image)}.")
    if image.ndim == 4:
        if slice_index is not None:
            raise UsageError(
                f"slice_index={slice_index} was given, but the batch holds images, no volumes: leave it out."
            )
        return None
    depth = image.shape[2]
    if slice_index is None:
        for key in ("lesion_mask", "lung_mask"):
            mask = batch.get(key) if isinstance(batch, Mapping) else None
            if mask is not None and bool(mask[sample].any()):
                return int((mask[sample, 0] > 0).flatten(1).sum(1).argmax())
        return depth // 2
    if not 0 <= slice_index < depth:
        raise UsageError(f"slice_index={slice_index} is outside the scan: it has {depth} slices.")
    return slice_index


def _of_slice(
    tape: FeatureTape, network: nn.Module, inputs: tuple[Any, ...], sample: int, index: int | None
) -> NDArray[np.float32]:
    """(F, h, w) of one slice, out of all that a layer gave."""
    if not tape.maps:
        raise UsageError(f"The network did not call its layer {tape.layer!r}: name one that it uses with layers=.")
    maps = torch.cat([one.detach() for one in tape.maps])
    if maps.ndim == 5:  # a 3-D trunk has a depth of its own
        if index is None:
            raise UsageError(
                f"The layer {tape.layer!r} gives {tuple(maps.shape)} for images: name another with layers=."
            )
        maps = maps[:, :, min((2 * index + 1) * maps.shape[2] // (2 * inputs[0].shape[2]), maps.shape[2] - 1)]
        rows = torch.arange(1, len(maps) + 1)
    else:
        count = torch.arange(1, len(maps) + 1, device=maps.device)
        rows = place(count.reshape(-1, 1, 1), network, inputs)[..., 0, 0].cpu()  # 0 where there is no map
    row = int(rows[sample] if rows.ndim == 1 else rows[sample, cast("int", index)])
    if row == 0:
        raise UsageError(
            f"Slice {index} is padding, or {type(network).__name__} does not use it: choose another with slice_index=."
        )
    return maps[row - 1].float().cpu().numpy()


def _chosen(
    name: str, layer: str, maps: NDArray[np.float32], channels: int | Sequence[int], choice: Choice
) -> LayerMaps:
    """The channels asked for."""
    width = len(maps)
    if isinstance(channels, int):
        if channels < 1:
            raise UsageError(f"channels={channels} must be at least 1.")
        order = (
            np.argsort(-maps.std((1, 2), dtype=np.float64), kind="stable") if choice == "spread" else np.arange(width)
        )
        picked = order[:channels]
    else:
        picked = np.asarray(channels, dtype=np.int64)
        if picked.ndim != 1 or not picked.size or picked.min() < 0 or picked.max() >= width:
            raise UsageError(f"channels={list(channels)} are not all in {layer} of {name}: it has 0 to {width - 1}.")
    mean = maps.mean(0, dtype=np.float64).astype(np.float32)
    return LayerMaps(name, layer, maps[picked], picked.astype(np.int64), mean, width)
