"""``SliceMetrics``: slice-level scores of slice attention during a run, right under several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from covidct.metrics.gathering import CollectedCases
from covidct.metrics.slices import VolumeSlices, slice_report

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ("SliceMetrics",)

_DTYPES = {
    "scan": torch.int64,
    "subject": torch.int64,
    "place": torch.int64,
    "label": torch.int64,
    "diagnosed": torch.bool,
    "attention": torch.float32,
}


class SliceMetrics(CollectedCases):
    """Collects the attention and the labels of all slices and scores them by :func:`covidct.metrics.slice_report`.

    Slices are keyed by scan and place, so that a scan which a distributed sampler hands out twice counts once.

    ``compute`` gives scalars named ``<metric>`` (pooled over all slices) and ``<metric>_volume_mean``, for accuracy,
    precision, sensitivity, f1, specificity and auroc, ``auroc_pooled_diagnosed`` and ``auroc_pooled_positive``; nothing
    where no slice has a known label.
    """

    def __init__(self) -> None:
        """Set up empty states."""
        super().__init__({name: (dtype, ()) for name, dtype in _DTYPES.items()})

    def update(
        self,
        attention: Tensor,
        label: Tensor,
        *,
        real: Tensor | None,
        diagnosed: Tensor,
        scan: Tensor,
        subject: Tensor,
    ) -> None:
        """Add a batch.

        Args:
            attention: (B, D) share of each slice.
            label: (B, D) int64, 1 findings, 0 none, -1 unknown.
            real: (B, D) bool, True = real slice; None: all are.
            diagnosed: (B,) bool, whether the volume was predicted positive.
            scan: (B,) int64 key of the volume; equal keys are the same volume.
            subject: (B,) int64 key of the subject.
        """
        real = torch.ones_like(label, dtype=torch.bool) if real is None else real
        volume, place = real.nonzero(as_tuple=True)
        rows = {
            "scan": scan[volume],
            "subject": subject[volume],
            "place": place,
            "label": label[real],
            "diagnosed": diagnosed[volume],
            "attention": attention[real],
        }
        self.append(rows)

    def compute(self) -> dict[str, Tensor]:
        """Scalar float32 tensors by name; NaN where a score is not defined."""
        volumes = self.volumes()
        if not any((volume.label >= 0).any() for volume in volumes):
            return {}
        return {
            metric if scope == "pooled" else f"{metric}_{scope}": torch.tensor(estimate.value, device=self.device)
            for metric, scopes in slice_report(volumes).scores.items()
            for scope, estimate in scopes.items()
        }

    def volumes(self) -> list[VolumeSlices]:
        """The volumes of this process, or of all processes while synchronised, each once."""
        rows: dict[str, Any] = {name: self._joined(name).cpu().numpy() for name in self.columns}
        _, first = np.unique(np.stack((rows["scan"], rows["place"])), axis=1, return_index=True)
        rows = {name: values[first] for name, values in rows.items()}
        parts = np.flatnonzero(np.diff(rows["scan"])) + 1
        pieces = {name: np.split(values, parts) for name, values in rows.items()}
        return [
            VolumeSlices(attention, label, diagnosed=bool(diagnosed[0]), subject=int(subject[0]))
            for attention, label, diagnosed, subject in zip(
                *(pieces[name] for name in ("attention", "label", "diagnosed", "subject")), strict=True
            )
            if len(label)
        ]
