"""Overlap of slices' masks by plain counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.metrics import SliceMaskMetrics


def test_equals_plain_counting() -> None:
    rng = np.random.default_rng(0)
    pred, true = (rng.random((7, 1, 6, 5)) < share for share in (0.4, 0.5))
    pred[2], true[2], true[3] = False, False, False
    scan = np.array([3, 3, 3, 8, 8, 1, 1])
    metrics = SliceMaskMetrics()
    names = [f"s{i}" for i in range(7)]
    for part in (slice(0, 3), slice(3, 7), slice(0, 3)):  # some slices twice
        metrics.update(
            torch.from_numpy(pred[part].astype(np.uint8)),
            torch.from_numpy(2 * true[part].astype(np.uint8)),
            scan=torch.from_numpy(scan[part]),
            ids=names[part],
        )
    scores = metrics.compute()
    by_scan = [
        2 * (pred & true)[scan == s].sum() / (pred[scan == s].sum() + true[scan == s].sum()) for s in np.unique(scan)
    ]
    by_slice = [
        2 * (p & t).sum() / (p.sum() + t.sum()) for i, (p, t) in enumerate(zip(pred, true, strict=True)) if i != 2
    ]
    assert scores["dice"].item() == pytest.approx(np.mean(by_scan))
    assert scores["dice_slice"].item() == pytest.approx(np.mean(by_slice))


def test_nothing_has_no_score() -> None:
    metrics = SliceMaskMetrics()
    assert metrics.compute()["dice"].isnan()
    empty = torch.zeros(2, 1, 4, 4)
    metrics.update(empty, empty, scan=torch.tensor([1, 2]), ids=["a", "b"])
    assert all(value.isnan() for value in metrics.compute().values())


def test_wrong_shapes_are_refused() -> None:
    mask = torch.zeros(2, 1, 4, 4)
    for pred, scan, ids in (
        (mask[:, 0], torch.tensor([1, 2]), ["a", "b"]),
        (mask[..., 1:], torch.tensor([1, 2]), ["a", "b"]),
        (mask, torch.tensor([1]), ["a", "b"]),
        (mask, torch.tensor([1, 2]), ["a"]),
    ):
        with pytest.raises(UsageError, match="SliceMaskMetrics"):
            SliceMaskMetrics().update(pred, mask, scan=scan, ids=ids)
