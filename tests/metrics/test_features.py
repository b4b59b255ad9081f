from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.metrics import ContrastiveMetrics, FeatureMetrics, feature_spread


def test_spread_is_one_on_the_sphere_and_zero_after_a_collapse() -> None:
    even = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))
    assert feature_spread(even).item() == pytest.approx(1, abs=0.02)
    assert feature_spread(torch.rand(1, 8).expand(5, 8)).item() == pytest.approx(0, abs=1e-6)
    assert feature_spread(torch.rand(1, 8)).item() == 0


def test_spread_equals_numpy() -> None:
    features = np.random.default_rng(0).normal(1, 1, (20, 6))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = unit.std(0).mean() * np.sqrt(6)
    assert feature_spread(torch.tensor(features)).item() == pytest.approx(expected, rel=1e-5)


def test_contrastive_metrics_weigh_batches_by_their_size() -> None:
    metrics = ContrastiveMetrics()
    batches = [
        (torch.tensor([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 3.0, 9.0]]), torch.eye(3)),
        (torch.tensor([[5.0, 1.0, 2.0]]), torch.ones(1, 3)),
    ]
    for logits, query in batches:
        metrics.update(logits, query)
    found = metrics.compute()
    assert found["contrastive_accuracy"].item() == pytest.approx(2 / 4)  # a tie is no find
    spread = np.eye(3).std(0).mean() * np.sqrt(3)
    assert found["feature_std"].item() == pytest.approx(3 / 4 * spread, rel=1e-6)
    assert ContrastiveMetrics().compute()["feature_std"].isnan()


def test_features_count_once_per_sample() -> None:
    metrics = FeatureMetrics(3)
    for start in (0, 1):  # the second sample comes twice
        keys = torch.tensor([start, start + 1])
        metrics.update(torch.eye(3)[keys], torch.tensor([-1, 1]), scan=keys, subject=keys + 10)
    rows = metrics.rows()
    assert rows["scan"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(rows["features"], np.eye(3))
    assert metrics.compute()["feature_std"].item() == pytest.approx(np.eye(3).std(0).mean() * np.sqrt(3), rel=1e-6)
    assert FeatureMetrics(3).compute()["feature_std"].isnan()
