"""``SliceMaskMetrics``: overlap of masks of slices, pooled over the slices of each scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from covidct.errors import UsageError
from covidct.metrics.gathering import CollectedCases
from covidct.sample import stable_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ("SliceMaskMetrics",)


class SliceMaskMetrics(CollectedCases):
    """Collects the pixel counts of each slice; right under several processes, each slice counts once.

    ``compute`` gives scalars: ``dice``, the mean over scans of ``2 |P and T| / (|P| + |T|)`` with the pixels of all
    slices of a scan pooled, so that what is found in a slice without the structure counts against it; and
    ``dice_slice``, the mean over slices that show the structure in either mask. NaN where there is none.
    """

    def __init__(self) -> None:
        """Set up empty states."""
        # "scan" is what rows are told apart by: here the slice
        super().__init__({"scan": (torch.int64, ()), "group": (torch.int64, ()), "counts": (torch.int64, (2,))})

    def update(self, pred: Tensor, target: Tensor, *, scan: Tensor, ids: Sequence[str]) -> None:
        """Add a batch.

        Args:
            pred: (B, 1, H, W), non-zero inside.
            target: (B, 1, H, W), non-zero inside.
            scan: (B,) int64 key of the scan that the slice is of.
            ids: B names of the slices; equal names are the same slice.

        Raises:
            UsageError: when the shapes do not fit.
        """
        if pred.ndim != 4 or pred.shape[1] != 1 or pred.shape != target.shape:
            raise UsageError(
                f"SliceMaskMetrics needs two masks (B, 1, H, W) of one shape, not {tuple(pred.shape)} and "
                f"{tuple(target.shape)}."
            )
        if scan.shape != (len(pred),) or len(ids) != len(pred):
            raise UsageError(
                f"SliceMaskMetrics got {len(ids)} names and scan {tuple(scan.shape)} of {len(pred)} masks."
            )
        found, true = pred != 0, target != 0
        both = (found & true).sum((1, 2, 3))
        either = found.sum((1, 2, 3)) + true.sum((1, 2, 3))
        names = torch.tensor([stable_hash(name) for name in ids], dtype=torch.int64, device=scan.device)
        self.append({"scan": names, "group": scan, "counts": torch.stack((2 * both, either), 1)})

    def compute(self) -> dict[str, Tensor]:
        """Scalar float32 tensors by name."""
        rows = self.rows()
        _, group = np.unique(rows["group"], return_inverse=True)
        pooled = np.zeros((group.max(initial=-1) + 1, 2), np.int64)
        np.add.at(pooled, group, rows["counts"])
        values = {"dice": pooled, "dice_slice": rows["counts"]}
        return {name: torch.tensor(_mean(counts), device=self.device) for name, counts in values.items()}


def _mean(counts: np.ndarray) -> float:
    """Mean of the quotients of (n, 2) counts that have one."""
    known = counts[counts[:, 1] > 0]
    return float((known[:, 0] / known[:, 1]).mean()) if len(known) else float("nan")
