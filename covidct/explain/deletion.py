"""The deletion curve: does blanking what a map calls hot lower the score more than blanking at random?

After V. Petsiuk, A. Das, K. Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models" (deletion
metric), within the lungs and against random pixels. A map that is no better than chance explains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from covidct.errors import UsageError
from covidct.explain.gradcam import GradCAM
from covidct.explain.slices import logits_of, own
from covidct.layers import evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    from covidct.explain.gradcam import ClassMaps
    from covidct.tasks import ClassificationTask

__all__ = ("DeletionCurve", "deletion_curve", "deletion_figure")


@dataclass(frozen=True, slots=True)
class DeletionCurve:
    """Drops of the score of one scan; positive where blanking lowers it.

    Attributes:
        target: the class.
        score: log-odds of the class on the whole scan.
        fractions: shares of the lung pixels that were blanked.
        hottest: (fractions,) drop when the hottest are.
        random: (draws, fractions) drop when random ones are.
    """

    target: int
    score: float
    fractions: tuple[float, ...]
    hottest: NDArray[np.float64]
    random: NDArray[np.float64]


def deletion_curve(
    task: ClassificationTask,
    batch: Mapping[str, Any],
    *,
    target: int | None = None,
    fractions: Sequence[float] = (0.05, 0.1, 0.2),
    draws: int = 5,
    seed: int = 0,
    explain: Callable[..., ClassMaps] | None = None,
) -> DeletionCurve:
    """Blank the hottest lung pixels of a scan, and as many random ones, and see what becomes of the score.

    Blanked pixels take the median of the scan's lung pixels, which looks like healthy lung. The score is the class's
    log-odds against the rest, ``y_c - log sum exp`` of the others: a probability near 1 hardly moves.
    Pixels outside the lungs stay as they are. Each fraction costs 1 + ``draws`` inferences.

    Args:
        task: a classifier.
        batch: one scan with ``image`` and ``lung_mask``.
        target: class; None takes the predicted one.
        fractions: increasing shares of the lung pixels, in (0, 1]; the last is the usual 20 %.
        draws: random draws per fraction; each fraction of one draw holds the pixels of the smaller ones.
        seed: of the draws.
        explain: makes the maps; None is Grad-CAM.

    Returns:
        The drops of the score, by the hottest pixels and by random ones.

    Raises:
        UsageError: when the batch is not one scan with lungs, or a number is out of range.
    """
    _check(batch, fractions, draws)
    maps = (GradCAM(task) if explain is None else explain)(batch, target)
    chosen = int(maps.target)
    whole = own(task, batch)
    image, lung = whole["image"], whole["lung_mask"] > 0
    heat = _on_pixels(maps.maps, image)[lung[:, 0]]
    fill = image[lung.expand_as(image)].median()

    def drop(order: Tensor) -> list[float]:
        return [start - _log_odds(task, _blanked(whole, lung, order, share, fill), chosen) for share in fractions]

    generator = torch.Generator().manual_seed(seed)
    with evaluation(task), torch.no_grad():
        start = _log_odds(task, whole, chosen)
        # equal values of a coarse map are many: among them the order is random, not the order of the rows
        tie = torch.randperm(len(heat), generator=generator).to(heat.device)
        hottest = drop(tie[heat[tie].argsort(descending=True, stable=True)])
        random = [drop(torch.randperm(len(heat), generator=generator).to(heat.device)) for _ in range(draws)]
    return DeletionCurve(chosen, start, tuple(fractions), np.array(hottest), np.array(random))


def deletion_figure(curves: Mapping[str, DeletionCurve]) -> Figure:
    """Draw drops over the share of the lungs that is blanked: a line for the hottest, the range of the random ones.

    Args:
        curves: title to curve, one panel each.

    Returns:
        A matplotlib figure that belongs to no window.

    Raises:
        UsageError: without curves.
    """
    if not curves:
        raise UsageError("The figure needs at least one curve: make it with deletion_curve.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(curves) + 0.6, 3.2), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axis, (title, curve) in zip(axes, curves.items(), strict=True):
        x = [0.0, *(100 * share for share in curve.fractions)]
        random = np.pad(curve.random, ((0, 0), (1, 0)))
        axis.fill_between(x, random.min(0), random.max(0), color="0.8", label="random pixels, all draws")
        axis.plot(x, random.mean(0), color="0.4", label="random pixels, mean")
        axis.plot(x, [0.0, *curve.hottest], color="tab:red", marker="o", label="hottest pixels")
        axis.axhline(0, color="0.2", linewidth=0.6)
        axis.set(title=title, xlabel="lung pixels blanked (%)")
    axes[0].set_ylabel("drop of the log-odds")
    axes[0].legend(fontsize="small", frameon=False)
    return figure


def _check(batch: Mapping[str, Any], fractions: Sequence[float], draws: int) -> None:
    """Refuse what has no lungs to blank."""
    if "lung_mask" not in batch or len(batch["image"]) != 1 or not bool(batch["lung_mask"].any()):
        raise UsageError("A deletion curve needs a batch of one scan with a lung mask that is not empty.")
    rising = all(low < high for low, high in zip((0, *fractions), fractions, strict=False))
    if not fractions or not rising or fractions[-1] > 1 or draws < 1:
        raise UsageError(f"fractions={tuple(fractions)} must rise within (0, 1] and draws={draws} be at least 1.")


def _on_pixels(maps: Tensor, image: Tensor) -> Tensor:
    """Maps (1, h, w) or (1, D, h, w) at the pixels of the image: (1, H, W) or (1, D, H, W)."""
    if maps.ndim == 4 and maps.shape[1] != image.shape[2]:  # of a 3-D trunk
        return F.interpolate(maps[:, None], image.shape[2:], mode="trilinear")[:, 0]
    rows = maps.flatten(0, -3)[:, None]
    grown = F.interpolate(rows, image.shape[-2:], mode="bilinear")[:, 0]
    return grown.reshape(*maps.shape[:-2], *image.shape[-2:])


def _blanked(whole: dict[str, Any], lung: Tensor, order: Tensor, share: float, fill: Tensor) -> dict[str, Any]:
    """The batch with the first ``share`` of the lung pixels in ``order`` filled."""
    gone = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    gone[order[: round(share * len(order))]] = True
    where = torch.zeros_like(lung)
    where[lung] = gone
    return {**whole, "image": torch.where(where, fill, whole["image"])}


def _log_odds(task: ClassificationTask, batch: dict[str, Any], target: int) -> float:
    """``y_c - log sum exp`` of the other classes, on one scan."""
    logits = logits_of(task, batch)[0].double()
    rest = torch.cat([logits[:target], logits[target + 1 :]])
    return float(logits[target] - rest.logsumexp(0))
