"""``case_features``: the probabilities of a case's slices as one vector of fixed length.

The second level of the gated ensemble's two-level classifier (D000, section 3.3.2) takes the probability vectors of all
slices of a case; the paper does not say in which form. This one is a recommendation.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from covidct.errors import UsageError

__all__ = ("case_features",)


def case_features(
    prob: torch.Tensor, slice_mask: torch.Tensor | None = None, *, positions: int = 64, top: int = 5
) -> torch.Tensor:
    """Describe each case by its slices' probabilities along the body axis, and by their mean, maximum and top mean.

    The profile: the real slices, in their order, are cells of equal thickness that fill the range from 0 to 1, and the
    probabilities are interpolated linearly between the middles of the cells, at the middles of ``positions`` cells.
    Beyond the outermost middles they are constant, so that one slice is a case too. When every slice is there twice,
    mean and maximum are the same, and the profile nearly so.

    Args:
        prob: (B, D, C), any floating dtype, slices in the order of the body axis.
        slice_mask: (B, D) bool, True = real slice, at least one per case; None: all are, without data-dependent shapes.
        positions: P, points of the profile, at least 1; 64 (recommendation).
        top: how many of a class's largest probabilities the top mean is taken of, at least 1, all where there are
            fewer slices; 5 (recommendation).

    Returns:
        (B, C P + 3 C) float32: the profile of each class, then mean, maximum and top mean, each of all classes.

    Raises:
        UsageError: when the shapes do not fit or a number is below 1.
    """
    if prob.ndim != 3 or (slice_mask is not None and slice_mask.shape != prob.shape[:2]):
        raise UsageError(
            f"case_features needs prob (B, D, C) and slice_mask (B, D), not {tuple(prob.shape)} and "
            f"{None if slice_mask is None else tuple(slice_mask.shape)}."
        )
    if positions < 1 or top < 1:
        raise UsageError(f"positions={positions} and top={top} must both be at least 1.")
    values = prob.float()
    if slice_mask is None:
        real = torch.ones_like(values[..., 0], dtype=torch.bool)
    else:
        order = (~slice_mask).to(torch.uint8).argsort(dim=1, stable=True)  # the real ones first, in their order
        values, real = values.gather(1, order[..., None].expand_as(values)), slice_mask.gather(1, order)
    count = real.sum(1, keepdim=True)
    known = real[..., None]
    mean = values.masked_fill(~known, 0).sum(1) / count
    ranked = F.pad(values.masked_fill(~known, -torch.inf), (0, 0, 0, top), value=-torch.inf)  # D may be below top
    largest = ranked.topk(top, dim=1).values
    top_mean = largest.masked_fill(largest.isinf(), 0).sum(1) / count.clamp(max=top)
    profile = _profile(values, count, positions)
    return torch.cat([profile.transpose(1, 2).flatten(1), mean, largest[:, 0], top_mean], 1)


def _profile(values: torch.Tensor, count: torch.Tensor, positions: int) -> torch.Tensor:
    """(B, D, C), of which the first ``count`` (B, 1) are real, at the middles of P cells: (B, P, C)."""
    middles = (torch.arange(positions, device=values.device) + 0.5) / positions
    place = (middles * count - 0.5).clamp(min=0).minimum((count - 1).float())
    lower = place.floor().long()
    upper = (lower + 1).minimum(count - 1)
    share = (place - lower)[..., None]
    below, above = (values.gather(1, index[..., None].expand(-1, -1, values.shape[2])) for index in (lower, upper))
    return below + share * (above - below)
