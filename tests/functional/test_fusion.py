from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from covidct.errors import UsageError
from covidct.functional import fit_fusion_weights, fuse_probabilities

RNG = np.random.default_rng(0)
PROB = RNG.dirichlet(np.ones(3), size=(4, 30))
LABEL = RNG.integers(0, 3, 30)


def test_mean_is_the_weighted_mean() -> None:
    weights = np.array([1.0, 2.0, 0.0, 3.0])
    found = fuse_probabilities(torch.tensor(PROB), torch.tensor(weights))
    np.testing.assert_allclose(found, np.average(PROB, axis=0, weights=weights), atol=1e-6)
    assert found.dtype == torch.float32


def test_vote_is_the_class_with_most_weight_and_ties_go_to_the_mean() -> None:
    weights = np.array([1.0, 2.0, 4.0, 8.0])  # no two sets of members have equal weights
    found = fuse_probabilities(torch.tensor(PROB), torch.tensor(weights), rule="vote")
    votes = np.zeros((30, 3))
    for member, weight in zip(PROB.argmax(-1), weights, strict=True):
        votes[np.arange(30), member] += weight
    assert found.argmax(-1).tolist() == votes.argmax(-1).tolist()
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    tie = torch.tensor([[[0.9, 0.1, 0.0]], [[0.2, 0.3, 0.5]]])
    assert fuse_probabilities(tie, torch.ones(2), rule="vote").argmax(-1).item() == 0  # means .55, .2, .25


def test_equal_votes_are_counted_and_means_decide_between_equal_counts() -> None:
    """As the ten last epochs of a training vote: the most calls win, whatever the means say."""
    prob = RNG.dirichlet(np.ones(3), (10, 50))
    found = fuse_probabilities(torch.tensor(prob), torch.ones(10), rule="vote").argmax(-1)
    against = 0
    for case in range(50):
        votes = [int((prob[:, case].argmax(1) == label).sum()) for label in range(3)]
        best = [label for label in range(3) if votes[label] == max(votes)]
        assert found[case] == max(best, key=lambda label: prob[:, case, label].mean())
        against += int(found[case] != prob[:, case].mean(0).argmax())
    assert against, "some majorities go against the mean"


def test_a_slightly_heavier_vote_is_no_tie() -> None:
    prob = torch.tensor([[[0.51, 0.49]], [[0.0, 1.0]]])
    fused = fuse_probabilities(prob, torch.tensor([0.5002, 0.4998]), rule="vote")
    assert fused.argmax().item() == 0, "the mean says 1"
    assert fused.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_weights_are_the_best_that_scipy_finds(prior: float) -> None:
    of_truth = PROB[:, np.arange(30), LABEL]

    def cost(free: np.ndarray) -> float:
        weights = np.exp(free) / np.exp(free).sum()
        return float(-np.log(weights @ of_truth).sum() - prior * np.log(weights).sum())

    best = minimize(cost, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    expected = np.exp(best.x) / np.exp(best.x).sum()
    np.testing.assert_allclose(fit_fusion_weights(PROB, LABEL, prior=prior), expected, atol=1e-3)


def test_every_subject_counts_once() -> None:
    repeats = RNG.integers(1, 6, 30)
    index = np.repeat(np.arange(30), repeats)
    found = fit_fusion_weights(PROB[:, index], LABEL[index], subject=index)
    np.testing.assert_allclose(found, fit_fusion_weights(PROB, LABEL), atol=1e-8)


def test_a_member_that_is_always_right_wins_and_equal_members_share() -> None:
    right = np.eye(3)[LABEL] * 0.98 + 0.01
    found = fit_fusion_weights(np.stack([right, np.full((30, 3), 1 / 3)]), LABEL)
    assert found[0] > 0.9
    np.testing.assert_allclose(fit_fusion_weights(np.stack([right, right]), LABEL), 0.5)


def test_misfits_are_refused() -> None:
    prob = torch.tensor(PROB)
    with pytest.raises(UsageError, match=r"\(M,\)"):
        fuse_probabilities(prob, torch.ones(3))
    with pytest.raises(UsageError, match="at least 0"):
        fuse_probabilities(prob, torch.zeros(4))
    with pytest.raises(UsageError, match="rule"):
        fuse_probabilities(prob, torch.ones(4), rule="median")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="label"):
        fit_fusion_weights(PROB, LABEL[:-1])
    with pytest.raises(UsageError, match="at least 0"):
        fit_fusion_weights(-PROB, LABEL)
