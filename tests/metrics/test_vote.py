from __future__ import annotations

import numpy as np
import pytest
import torch

from covidct.errors import UsageError
from covidct.metrics import CaseMetrics, case_scores, majority_vote

NAMES = ("non_covid", "covid")


def test_the_majority_decides_and_means_break_a_tie() -> None:
    covid = np.array(
        [
            [0.6, 0.1, 0.9],  # two of three call COVID-19, though the mean does not in the first
            [0.6, 0.1, 0.4],
            [0.1, 0.6, 0.4],
        ]
    )
    called, mean = majority_vote(np.stack([1 - covid, covid], 2))
    assert called.tolist() == [1, 0, 0]
    np.testing.assert_allclose(mean[:, 1], covid.mean(0))
    called, _ = majority_vote(np.stack([1 - covid[[0, 2]], covid[[0, 2]]], 2))  # one vote each
    assert called.tolist() == [0, 0, 1]


def test_equals_counting() -> None:
    prob = np.random.default_rng(0).dirichlet(np.ones(3), (7, 50))
    called, _ = majority_vote(prob)
    for case in range(50):
        votes = [int((prob[:, case].argmax(1) == label).sum()) for label in range(3)]
        best = [label for label in range(3) if votes[label] == max(votes)]
        assert called[case] == max(best, key=lambda label: prob[:, case, label].mean())


def test_scores_of_a_vote_take_calls_and_means() -> None:
    target = np.array([0, 0, 1, 1])
    mean = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    found = case_scores(mean, target, NAMES, predicted=np.array([0, 1, 1, 1]))
    assert found["accuracy"] == 3 / 4
    assert found["specificity_covid"] == 1 / 2
    assert found["auroc"] == 3 / 4  # of the means: one of four pairs is the wrong way round
    metrics = CaseMetrics(NAMES)
    keys = torch.arange(4)
    metrics.update(torch.tensor(mean), torch.tensor(target), scan=keys, subject=keys)
    plain = {name: value.item() for name, value in metrics.compute().items()}
    assert case_scores(mean, target, NAMES) == pytest.approx(plain, rel=1e-6, nan_ok=True)


def test_wrong_shapes_are_named() -> None:
    for shape in ((0, 3, 2), (3, 2)):
        with pytest.raises(UsageError, match="E, N, C"):
            majority_vote(np.zeros(shape))
