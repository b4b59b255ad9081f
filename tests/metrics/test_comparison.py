"""Comparisons of variants and seeds: parts against the functions they are made of, and pooled without false cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from covidct.errors import UsageError
from covidct.metrics import PairedComparison, compare_cohorts, compare_predictions
from tests.metrics.cohorts import random_cohort

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = ("non_covid", "covid")


def runs() -> tuple[dict[str, dict[int, NDArray[np.float64]]], NDArray[np.int64], NDArray[np.int64]]:
    """Two variants, three seeds, the same 50 cases of 20 subjects."""
    _, target, subject = random_cohort(0, cases=50, classes=2, subjects=20)
    rng = np.random.default_rng(1)

    def prob(skill: float) -> NDArray[np.float64]:
        covid = 1 / (1 + np.exp(-(rng.normal(size=50) + skill * (target - 0.5))))
        return np.stack([1 - covid, covid], axis=1)

    return {"mean": {s: prob(1.0) for s in range(3)}, "mask": {s: prob(2.5) for s in range(3)}}, target, subject


def made() -> PairedComparison:
    return compare_predictions(*runs(), NAMES, resamples=50)


def test_every_pair_is_tested_over_all_seeds_and_in_each() -> None:
    found = made()
    assert found.variants == ("mean", "mask")
    assert found.seeds == (0, 1, 2)
    assert [(t.a, t.b, t.seed) for t in found.tests] == [("mean", "mask", s) for s in (None, 0, 1, 2)]


def test_each_case_counts_once_however_many_seeds() -> None:
    prob, target, _ = runs()
    found = made()
    means = {name: (seeds[0] + seeds[1] + seeds[2]) / 3 for name, seeds in prob.items()}
    right = {name: (values[:, 1] > values[:, 0]) == (target == 1) for name, values in means.items()}
    test = found.tests[0].mcnemar
    assert test.both + test.only_a + test.only_b + test.neither == 50
    only_a, only_b = int((right["mean"] & ~right["mask"]).sum()), int((~right["mean"] & right["mask"]).sum())
    assert (test.only_a, test.only_b) == (only_a, only_b)
    assert test.p_value == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    areas = {name: roc_auc_score(target, values[:, 1]) for name, values in means.items()}
    assert found.tests[0].auroc_difference.value == pytest.approx(areas["mean"] - areas["mask"])
    assert found.reports["mask"].scores["auroc"]["covid"].value == pytest.approx(areas["mask"])


def test_seeds_stand_alone_too() -> None:
    prob, target, _ = runs()
    found = made()
    for name, seeds in prob.items():
        for seed, values in seeds.items():
            area = roc_auc_score(target, values[:, 1])
            assert found.seed_reports[name][seed].scores["auroc"]["covid"].value == pytest.approx(area)


def test_three_variants_make_three_pairs() -> None:
    prob, target, subject = runs()
    found = compare_predictions({**prob, "copy": prob["mask"]}, target, subject, NAMES, resamples=0)
    pooled = {(t.a, t.b): t for t in found.tests if t.seed is None}
    assert set(pooled) == {("mean", "mask"), ("mean", "copy"), ("mask", "copy")}
    assert pooled["mask", "copy"].mcnemar.p_value == 1.0
    assert found.to_dict()["tests"][0]["mcnemar"]["p_value"] == pooled["mean", "mask"].mcnemar.p_value


def test_unlike_seeds_and_cases_are_refused() -> None:
    prob, target, subject = runs()
    with pytest.raises(UsageError, match="same seeds"):
        compare_predictions({"mean": prob["mean"], "mask": {0: prob["mask"][0]}}, target, subject, NAMES)
    with pytest.raises(UsageError, match="same seeds"):
        compare_predictions({}, target, subject, NAMES)
    shorter = {s: values[1:] for s, values in prob["mask"].items()}
    with pytest.raises(UsageError, match="same cases"):
        compare_predictions({"mean": prob["mean"], "mask": shorter}, target, subject, NAMES)


def test_cohorts_of_their_own_add_up_and_rank_within_a_seed() -> None:
    sizes = {0: 40, 2: 30}
    target = {seed: np.arange(size) % 2 for seed, size in sizes.items()}
    rng = np.random.default_rng(3)

    def prob(seed: int, skill: float) -> NDArray[np.float64]:
        shift = 2.0 * seed  # scores of unlike networks have no common scale
        covid = 1 / (1 + np.exp(-(rng.normal(size=sizes[seed]) + skill * (target[seed] - 0.5) - shift)))
        return np.stack([1 - covid, covid], axis=1)

    probs = {name: {seed: prob(seed, skill) for seed in sizes} for name, skill in (("mean", 1.0), ("mask", 3.0))}
    subject = {seed: np.arange(size) for seed, size in sizes.items()}
    found = compare_cohorts(probs, target, subject, NAMES, resamples=20)
    area = {name: [roc_auc_score(target[s], of[s][:, 1]) for s in sizes] for name, of in probs.items()}
    auroc = found.reports["mask"].scores["auroc"]["covid"]
    assert (auroc.value, auroc.low, auroc.high) == pytest.approx(
        (np.mean(area["mask"]), min(area["mask"]), max(area["mask"]))
    )
    assert found.reports["mask"].subjects == found.reports["mask"].cases == 70
    assert not found.reports["mask"].roc
    assert [test.seed for test in found.tests] == [None, 0, 2]
    gaps = np.subtract(area["mean"], area["mask"])
    assert [test.auroc_difference.value for test in found.tests] == pytest.approx([gaps.mean(), *gaps])
    right = {n: np.concatenate([of[s].argmax(1) == target[s] for s in sizes]) for n, of in probs.items()}
    only_a = int((right["mean"] & ~right["mask"]).sum())
    only_b = int((right["mask"] & ~right["mean"]).sum())
    assert (found.tests[0].mcnemar.only_a, found.tests[0].mcnemar.only_b) == (only_a, only_b)
    assert found.tests[0].mcnemar.p_value == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert found.to_dict()["pooling_of_seeds"] == "all cases"
    for wrong in ({0: target[0]}, {}):
        with pytest.raises(UsageError, match="same seeds"):
            compare_cohorts(probs, wrong, subject, NAMES)
