"""Every formula against scikit-learn and torchmetrics, on random cohorts with ties and uneven weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from covidct.metrics import scores
from tests.metrics.cohorts import random_cohort

COHORTS = [(seed, classes, ties) for seed, classes in enumerate((2, 3, 3, 5)) for ties in (False, True)]


@pytest.mark.parametrize(("seed", "classes", "ties"), COHORTS)
def test_confusion_scores_equal_scikit_learn(seed: int, classes: int, ties: bool) -> None:
    prob, target, _ = random_cohort(seed, cases=60, classes=classes, ties=ties)
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, 60)).astype(float)
    predicted = prob.argmax(1)
    names = [f"class{i}" for i in range(classes)]
    confusion = scores.weighted_confusion(predicted, target, weights, classes=classes)
    found = scores.confusion_scores(confusion, names, np.ones(classes, bool))
    for row, weight in enumerate(weights):
        expected = sk.confusion_matrix(target, predicted, sample_weight=weight, labels=range(classes))
        np.testing.assert_array_equal(confusion[row], expected)
        assert found["accuracy", "overall"][row] == pytest.approx(
            sk.accuracy_score(target, predicted, sample_weight=weight)
        )
        for average in (None, "macro", "micro", "weighted"):
            p, r, f, _ = sk.precision_recall_fscore_support(
                target, predicted, sample_weight=weight, average=average, labels=range(classes), zero_division=0
            )
            for metric, values in (("precision", p), ("sensitivity", r), ("f1", f)):
                scopes = names if average is None else [average]
                actual = [found[metric, scope][row] for scope in scopes]
                np.testing.assert_allclose(actual, np.atleast_1d(values), rtol=1e-12)
        for index, name in enumerate(names):  # specificity is the recall of the rest
            rest = sk.recall_score(target != index, predicted != index, sample_weight=weight)
            assert found["specificity", name][row] == pytest.approx(rest)


@pytest.mark.parametrize(("seed", "classes", "ties"), COHORTS)
def test_rank_scores_equal_scikit_learn(seed: int, classes: int, ties: bool) -> None:
    prob, target, _ = random_cohort(seed, cases=80, classes=classes, ties=ties)
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, 80)).astype(float)
    auroc, auprc = scores.rank_scores(prob, target, weights)
    for row, weight in enumerate(weights):
        for index in range(classes):
            truth, score = target == index, prob[:, index]
            assert auroc[row, index] == pytest.approx(sk.roc_auc_score(truth, score, sample_weight=weight))
            assert auprc[row, index] == pytest.approx(sk.average_precision_score(truth, score, sample_weight=weight))


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    prob, target, _ = random_cohort(7, cases=40, classes=2, ties=True)
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in prob[target == 1, 1] for b in prob[target == 0, 1]]
    auroc, _ = scores.rank_scores(prob, target, np.ones((1, 40)))
    assert auroc[0, 1] == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("classes", [2, 3])
def test_calibration_error_equals_torchmetrics(classes: int) -> None:
    prob, target, _ = random_cohort(11, cases=300, classes=classes)
    expected = multiclass_calibration_error(
        torch.from_numpy(prob), torch.from_numpy(target), num_classes=classes, n_bins=15, norm="l1"
    )
    assert scores.calibration_error(prob, target, np.ones((1, 300)))[0] == pytest.approx(float(expected), abs=1e-6)


def test_calibration_error_by_hand() -> None:
    prob = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])  # bins of 0.9 (1 of 2 right) and 0.6 (right)
    target = np.array([0, 1, 1])
    expected = (2 * abs(0.5 - 0.9) + 1 * abs(1 - 0.6)) / 3
    assert scores.calibration_error(prob, target, np.ones((1, 3)))[0] == pytest.approx(expected)


def test_zero_division_rules() -> None:
    names, present = ("a", "b", "c"), np.array([True, True, False])
    found = scores.confusion_scores(np.array([[[3.0, 0, 1], [2, 0, 0], [0, 0, 0]]]), names, present)
    value = {key: float(row[0]) for key, row in found.items()}
    assert value["precision", "b"] == 0 == value["f1", "b"]  # present, never predicted
    assert value["precision", "c"] == 0  # predicted once, never true
    for metric in ("sensitivity", "f1"):
        assert np.isnan(value[metric, "c"])
        assert value[metric, "macro"] == pytest.approx((value[metric, "a"] + value[metric, "b"]) / 2)
    unused = scores.confusion_scores(np.array([[[3.0, 0, 0], [2, 0, 0], [0, 0, 0]]]), names, present)
    assert np.isnan(unused["precision", "c"][0])  # neither true nor predicted
