"""``test --out``: slice-level scores beside those of the volumes, where there are slice labels and attention."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from covidct.cli.evaluation import evaluate, write_evaluation
from covidct.tasks import ResNeXtPlusTask
from tests.fakes.volumes import tiny_batch

if TYPE_CHECKING:
    from pathlib import Path

    from covidct.sample import Batch


def task(variant: str = "proposed") -> ResNeXtPlusTask:
    torch.manual_seed(0)
    return ResNeXtPlusTask(backbone="resnet10", slice_size=48, variant=variant).eval()  # type: ignore[arg-type]


def labelled() -> Batch:
    """Four volumes; slices of the second and the last have findings, one slice is unknown, padding is."""
    batch = tiny_batch(4)
    label = batch["slice_mask"].long() - 1
    label[1, 2:4], label[3, 0] = 1, 1
    label[0, 1] = -1
    return {**batch, "slice_label": label}


def test_slice_scores_are_written(tmp_path: Path) -> None:
    batch = labelled()
    report, cohort = evaluate(task(), [batch], run={}, resamples=50)
    write_evaluation(report, cohort, tmp_path)
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["slices"]
    real, known = batch["slice_mask"].numpy(), batch["slice_label"].numpy() >= 0
    shares = np.array([result.attention for result in cohort.scans]) * real.sum(1, keepdims=True)
    expected = roc_auc_score(batch["slice_label"].numpy()[known] == 1, shares[known])
    assert found["scores"]["auroc"]["pooled"]["value"] == pytest.approx(expected, abs=1e-6)
    assert (found["volumes"], found["slices"], found["positives"]) == (4, int(known.sum()), 3)
    assert found["positive"] == "covid"
    assert found["scores"]["accuracy"]["volume_mean"]["low"] is not None


def test_no_attention_or_no_labels_no_slice_scores() -> None:
    report, _ = evaluate(task("N-SLA"), [labelled()], run={}, resamples=0)
    assert report.slices is None
    report, _ = evaluate(task(), [tiny_batch(4)], run={}, resamples=0)
    assert report.slices is None
    assert "slices" not in report.to_dict()
