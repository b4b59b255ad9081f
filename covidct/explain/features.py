"""Figure 6 of the mask-weighted pooling document: slice, lung mask and last feature map, with and without a lesion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from covidct.errors import UsageError
from covidct.explain.capture import recording
from covidct.explain.overlay import upsample
from covidct.explain.slices import cam_layer, logits_of, network_inputs, network_of, own, place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = ("FeatureRow", "feature_figure", "feature_row", "mean_feature_map")


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One row of the figure.

    Attributes:
        title: what the slice shows.
        image: (H, W) in [0, 1].
        lung_mask: (H, W) uint8.
        features: (h, w) float32, mean of the last feature map over its channels.
    """

    title: str
    image: NDArray[np.float32]
    lung_mask: NDArray[np.uint8]
    features: NDArray[np.float32]


def mean_feature_map(
    model: nn.Module, batch: Mapping[str, Any] | Tensor | tuple[Any, ...], *, layer: str | None = None
) -> Tensor:
    """The last feature map, averaged over its channels (recommendation: the document does not say how it joins them).

    Args:
        model: a task or a network, as for :class:`covidct.explain.GradCAM`.
        batch: as :class:`covidct.explain.GradCAM` takes it.
        layer: as there.

    Returns:
        (B, h, w) of images, (B, D, h, w) of volumes, float32; 0 on slices that the network does not use.
    """
    taken, network = own(model, batch), network_of(model)
    with recording(network, cam_layer(network, layer)) as tape, torch.no_grad():
        logits_of(model, taken)
        rows = torch.cat([maps.detach().float().mean(1) for maps in tape.maps])
        return place(rows, network, network_inputs(model, taken))


def feature_row(
    model: nn.Module, batch: Mapping[str, Any], *, title: str, slice_index: int | None = None, sample: int = 0
) -> FeatureRow:
    """One row of the figure from a scan.

    Args:
        model: a task.
        batch: with ``image`` and ``lung_mask``.
        title: what the slice shows ("with lesion").
        slice_index: of the slice in a volume; None takes the one with most lesion, else with most lung.
        sample: which scan of the batch.

    Returns:
        The slice (H, W) in [0, 1], its lung mask (H, W) and the mean (h, w) of the last feature map, on the CPU.

    Raises:
        UsageError: when the batch has no lung mask or no such slice.
    """
    if "lung_mask" not in batch:
        raise UsageError("The figure shows the lung mask: give batches with the key lung_mask.")
    features = mean_feature_map(model, batch)[sample]
    image, mask = batch["image"][sample, 0], batch["lung_mask"][sample, 0]
    if image.ndim == 3:
        extent = batch["lesion_mask"][sample, 0] if "lesion_mask" in batch else mask
        extent = extent if bool(extent.any()) else mask
        index = int((extent > 0).flatten(1).sum(1).argmax()) if slice_index is None else slice_index
        if not 0 <= index < len(image):
            raise UsageError(f"slice_index={index} is outside the scan: it has {len(image)} slices.")
        image, mask, features = image[index], mask[index], features[index]
    return FeatureRow(title, image.float().cpu().numpy(), mask.cpu().numpy(), features.cpu().numpy())


def feature_figure(rows: Sequence[FeatureRow]) -> Figure:
    """Draw the figure: slice, lung mask (right grey, left white) and feature map, a row per slice.

    The feature maps of all rows share one grey scale from 0 to the largest value, so that they can be compared.

    Args:
        rows: at least one, with :func:`feature_row`; the document has one with and one without a lesion.

    Returns:
        A matplotlib figure that belongs to no window; save it with ``figure.savefig``.

    Raises:
        UsageError: without rows.
    """
    if not rows:
        raise UsageError("The figure needs at least one row: make it with feature_row.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 2.6 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 3, squeeze=False)
    highest = max(float(row.features.max()) for row in rows)
    for row, line in zip(rows, axes, strict=True):
        shown = (row.image, row.lung_mask, upsample(row.features, row.image.shape))
        for axis, picture, top in zip(line, shown, (1, 2, highest), strict=True):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=top)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(row.title)
    for axis, title in zip(axes[0], ("slice", "lung mask", "last feature map"), strict=True):
        axis.set_title(title, fontsize="medium")
    return figure
