from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from covidct.errors import UsageError
from covidct.metrics import knn_probabilities, probe_probabilities


def example(classes: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    target = np.arange(30) % classes
    bank = rng.normal(size=(30, 8)) + 3 * np.eye(8)[target]
    return bank.astype(np.float32), target, rng.normal(size=(9, 8)).astype(np.float32)


def test_knn_equals_a_loop() -> None:
    bank, target, asked = example()
    found = knn_probabilities(bank, target, asked, classes=3, neighbours=5)
    for row, vector in zip(found, asked.astype(np.float64), strict=True):
        cosines = [float(one @ vector / np.linalg.norm(one) / np.linalg.norm(vector)) for one in bank]
        votes = [0.0, 0.0, 0.0]
        for place in sorted(range(len(bank)), key=lambda place: -cosines[place])[:5]:
            votes[target[place]] += math.exp(cosines[place] / 0.07)
        np.testing.assert_allclose(row, np.array(votes) / sum(votes), atol=1e-4)


def test_knn_weighs_by_the_cosine() -> None:
    bank = np.array([[1, 0], [0, 1]], dtype=np.float32)
    found = knn_probabilities(bank, np.array([0, 1]), 3 * bank[:1], classes=2, temperature=0.5)
    near, far = math.exp(1 / 0.5), math.exp(0 / 0.5)
    np.testing.assert_allclose(found, [[near / (near + far), far / (near + far)]], rtol=1e-6)


def test_knn_takes_no_more_than_there_are() -> None:
    bank, target, asked = example()
    all_of_them = knn_probabilities(bank, target, asked, classes=4, neighbours=30)
    np.testing.assert_array_equal(knn_probabilities(bank, target, asked, classes=4, neighbours=99), all_of_them)
    np.testing.assert_allclose(all_of_them.sum(1), 1)
    assert not all_of_them[:, 3].any()


def test_probe_finds_a_line_and_leaves_absent_classes_at_zero() -> None:
    bank, target, _ = example()
    found = probe_probabilities(bank, 2 * target, bank, classes=6)
    assert (found.argmax(1) == 2 * target).mean() > 0.9
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert not found[:, [1, 3, 5]].any()


def test_probe_does_not_care_for_scale_and_survives_a_collapse() -> None:
    bank, target, asked = example(2)
    scaled = probe_probabilities(100 * bank + 7, target, 100 * asked + 7, classes=2)
    np.testing.assert_allclose(scaled, probe_probabilities(bank, target, asked, classes=2), atol=1e-3)
    collapsed = np.ones_like(bank)
    np.testing.assert_allclose(probe_probabilities(collapsed, target, collapsed[:2], classes=2), 0.5, atol=1e-3)


def test_wrong_arguments_are_named() -> None:
    bank, target, asked = example()
    for options in ({"neighbours": 0}, {"temperature": 0.0}):
        with pytest.raises(UsageError, match="above 0"):
            knn_probabilities(bank, target, asked, classes=3, **options)
    with pytest.raises(UsageError, match="0 known samples"):
        knn_probabilities(bank[:0], target[:0], asked, classes=3)
    with pytest.raises(UsageError, match="at least two"):
        probe_probabilities(bank, np.zeros_like(target), asked, classes=3)
