"""Overlap and surface distances of segmentations, scan by scan and lung by lung, in mm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from covidct.errors import UsageError
from covidct.metrics.gathering import CollectedCases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ("SEGMENTATION_SCORES", "SegmentationMetrics", "segmentation_scores")

SEGMENTATION_SCORES = ("dice", "hd95", "surface_dice")
"""Last axis of :func:`segmentation_scores`: Dice, 95 % Hausdorff distance in mm, normalised surface Dice."""

_TOLERANCE_MM = 1.0  # Ma et al. 2021's evaluation code (COVID-19-CT-Seg-Benchmark): 1 mm for lungs, 3 mm for lesions


def segmentation_scores(
    pred: Tensor,
    target: Tensor,
    *,
    structures: int,
    spacing: Tensor | None = None,
    distances: bool = True,
    tolerance_mm: float = _TOLERANCE_MM,
) -> Tensor:
    """Score each structure of each scan.

    Dice is ``2 |P and T| / (|P| + |T|)``. The distances are MONAI's: ``hd95`` is the greater of the two directed 95 %
    Hausdorff distances between surface voxels; ``surface_dice`` is the share of both surfaces within ``tolerance_mm``
    of the other, by sub-voxel surface areas as in DeepMind's code and the benchmark of Ma et al. 2021.

    A structure that is in neither mask has no score (NaN). One that is in one of them only has the worst: Dice and
    surface Dice 0, and for ``hd95`` the diagonal of the volume, the greatest distance there is.

    Args:
        pred: (B, 1, D, H, W) integer labels, 0 is background.
        target: (B, 1, D, H, W) integer labels.
        structures: S, labels 1 to S are scored.
        spacing: (B, 3) mm along D, H, W; a scan without spacing (None, or NaN) has no distances (NaN).
        distances: whether to compute the two distances, which takes half a second for a 128-cube.
        tolerance_mm: of the surface Dice.

    Returns:
        (B, S, 3) float32 on the device of ``pred``, in the order of :data:`SEGMENTATION_SCORES`; NaN where there is no
        score.

    Raises:
        UsageError: when the shapes do not fit or the tolerance is negative.
    """
    if pred.ndim != 5 or pred.shape[1] != 1 or pred.shape != target.shape:
        raise UsageError(
            f"segmentation_scores needs two label volumes (B, 1, D, H, W) of one shape, not {tuple(pred.shape)} and "
            f"{tuple(target.shape)}."
        )
    if not tolerance_mm >= 0:
        raise UsageError(f"tolerance_mm={tolerance_mm} must not be negative.")
    out = torch.full((len(pred), structures, 3), torch.nan, device=pred.device)
    for label in range(1, structures + 1):
        found, true = pred == label, target == label
        sizes = found.sum((1, 2, 3, 4)) + true.sum((1, 2, 3, 4))
        out[:, label - 1, 0] = 2 * (found & true).sum((1, 2, 3, 4)) / sizes  # 0 / 0 is NaN: in neither mask
    if distances and spacing is not None:
        for index, mm in enumerate(spacing.tolist()):
            if np.isfinite(mm).all():
                pair = pred[index, 0].cpu().numpy(), target[index, 0].cpu().numpy()
                scores = [_distances(*pair, label, mm, tolerance_mm) for label in range(1, structures + 1)]
                out[index, :, 1:] = torch.tensor(scores, device=pred.device)
    return out


def _distances(
    pred: NDArray[Any], target: NDArray[Any], label: int, spacing: Sequence[float], tolerance_mm: float
) -> tuple[float, float]:
    """95 % Hausdorff distance and surface Dice of one structure, within the box that holds it."""
    found, true = pred == label, target == label
    either = found | true
    if not either.any():
        return float("nan"), float("nan")
    if not (found.any() and true.any()):
        return float(np.linalg.norm(np.multiply(pred.shape, spacing))), 0.0
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice  # heavy

    filled = (np.flatnonzero(either.any(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    box = tuple(slice(int(where[0]), int(where[-1]) + 1) for where in filled)
    one, other = (torch.from_numpy(mask[box])[None, None] for mask in (found, true))
    with torch.autocast("cpu", enabled=False):  # MONAI counts surface areas by a convolution
        hd95 = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=spacing)
        surface = compute_surface_dice(
            one, other, [tolerance_mm], include_background=True, spacing=spacing, use_subvoxels=True
        )
    return float(hd95), float(surface)


class SegmentationMetrics(CollectedCases):
    """Collects the scores of each scan and averages them at the end of the epoch, each scan once over all processes.

    ``compute`` gives scalars named ``dice``, ``dice_<structure>`` and, with ``distances``, ``hd95``,
    ``hd95_<structure>`` (mm), ``surface_dice`` and ``surface_dice_<structure>``: means over scans, and for the plain
    name over structures and scans. Scans without a score (see :func:`segmentation_scores`) are left out; a mean over
    none is NaN.

    Args:
        structures: names of the labels 1, 2, ...
        distances: compute the distances too.
        tolerance_mm: of the surface Dice; 1 mm is the lungs' in Ma et al. 2021's benchmark.

    Raises:
        UsageError: when there is no structure.
    """

    def __init__(
        self, structures: Sequence[str], *, distances: bool = True, tolerance_mm: float = _TOLERANCE_MM
    ) -> None:
        """Set up empty states."""
        if not structures:
            raise UsageError("SegmentationMetrics needs at least one structure.")
        super().__init__({"scan": (torch.int64, ()), "scores": (torch.float32, (len(structures), 3))})
        self.structures = tuple(structures)
        self.distances = distances
        self.tolerance_mm = tolerance_mm

    def update(self, pred: Tensor, target: Tensor, *, scan: Tensor, spacing: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            pred: (B, 1, D, H, W) integer labels.
            target: (B, 1, D, H, W) integer labels.
            scan: (B,) int64 key of the scan; equal keys are the same scan.
            spacing: (B, 3) mm, None where unknown.

        Raises:
            UsageError: when the shapes do not fit.
        """
        scores = segmentation_scores(
            pred,
            target,
            structures=len(self.structures),
            spacing=spacing,
            distances=self.distances,
            tolerance_mm=self.tolerance_mm,
        )
        if scan.shape != (len(scores),):
            raise UsageError(f"SegmentationMetrics got scan of shape {tuple(scan.shape)}, it needs ({len(scores)},).")
        self.append({"scan": scan, "scores": scores})

    def compute(self) -> dict[str, Tensor]:
        """Scalar float32 tensors by name; NaN where no scan has a score."""
        scores = self.rows()["scores"]
        result: dict[str, Tensor] = {}
        for place, name in enumerate(SEGMENTATION_SCORES if self.distances else SEGMENTATION_SCORES[:1]):
            values = {name: scores[..., place]}
            values |= {f"{name}_{which}": scores[:, s, place] for s, which in enumerate(self.structures)}
            result |= {key: torch.tensor(_mean(array), device=self.device) for key, array in values.items()}
        return result


def _mean(values: NDArray[np.float32]) -> float:
    """Mean of what is no NaN, NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if known.size else float("nan")
